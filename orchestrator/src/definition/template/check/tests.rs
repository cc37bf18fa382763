//! Every kind of fault, with the text that is underlined.

use super::*;

fn messages(text: &str) -> Vec<String> {
    let names = Names {
        data_interval: true,
        params: &["workers", "day"],
        environments: &[("local", vec!["bucket"]), ("prod", vec!["bucket", "role"])],
        secrets: Some(&[("local", vec!["token"]), ("prod", vec!["token", "key"])]),
        place: Place::Task,
        links: &[],
        trigger: &["objects"],
        shared: false,
    };
    check(text, &names)
        .faults
        .iter()
        .map(|fault| format!("{} [{}]", fault.message, &text[fault.span.clone()]))
        .collect()
}

#[test]
fn what_exists_passes() {
    for text in [
        "plain",
        "{{ ds }} {{ params.workers }} {{ params['workers'] }} {{ vars.bucket | upper }}",
        "{{ data_interval_start.strftime('%Y') }} {{ logical_date.year }} {{ ds.add(days=1) }}",
        "{% for x in range(3) %}{{ x }}{{ loop.index }}{% endfor %}{% set y = ds %}{{ y.foo }}",
        "{% if params.day is defined and ds > '2026' %}{{ run.id }}{% else %}{{ trigger.type }}{% endif %}",
        "{{ trigger.objects[0].key }}{% for object in trigger.objects %}{{ object.bucket }}{% endfor %}",
        "Bearer {{ secrets.token }}{{ secrets['token'] }}",
        "{{ params.day.add('1d').strftime('%F') }} {{ [1, 2] | join(',') }} {{ {'a': ds}['a'] }}",
    ] {
        assert_eq!(messages(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn what_does_not_exist_is_named_with_its_place() {
    insta::assert_snapshot!(
        [
            "{{ dss }}",
            "{{ params.wrkers }}",
            "{{ params['nope'] }}",
            "{{ vars.role }}",
            "{{ execution_date }}",
            "{{ ds | uper }}",
            "{{ ds is definde }}",
            "{{ logical_date.strtime('%Y') }}",
            "{{ run.idd }}",
            "{{ tasks }}",
            "{{ tasks.a.output }}",
            "{{ error.message }}",
            "{{ secrets.x }}",
            "{{ secrets.key }}",
            "{{ secrets.token | upper }}",
            "{{ 'Bearer ' ~ secrets.token }}",
            "{% if secrets.token %}x{% endif %}",
            "{% set t = secrets.token %}{{ t }}",
            "{{ secrets }}",
            "{{ secrets[ds] }}",
            "{{ ds.year }}",
            "{{ ds ",
            "{{ ds }} {% if %}",
            "{{ nope(1) }}",
            "{% include 'x' %}",
            "{{ workers }}",
        ]
        .iter()
        .flat_map(|text| messages(text))
        .collect::<Vec<_>>()
        .join("\n")
    );
}

#[test]
fn every_listed_filter_and_test_exists() {
    let environment = crate::definition::template::environment();
    for name in FILTERS.iter().chain(&MORE_FILTERS) {
        let error = environment.render_str(&format!("{{{{ 1 | {name} }}}}"), ()).err();
        let unknown = error.is_some_and(|error| error.kind() == minijinja::ErrorKind::UnknownFilter);
        assert!(!unknown, "{name}");
    }
    for name in TESTS.iter().chain(&MORE_TESTS) {
        let error = environment.render_str(&format!("{{{{ 1 is {name} }}}}"), ()).err();
        let unknown = error.is_some_and(|error| error.kind() == minijinja::ErrorKind::UnknownTest);
        assert!(!unknown, "{name}");
    }
}

#[test]
fn tasks_that_are_read_are_returned() {
    let names = Names {
        data_interval: true,
        params: &[],
        environments: &[],
        secrets: None,
        place: Place::Task,
        links: &[],
        trigger: &[],
        shared: false,
    };
    let text = "{{ tasks.convert.outputs.rows }} {{ tasks['crawl'].outputs }}";
    let tasks = check(text, &names).tasks;
    assert_eq!(tasks.iter().map(|found| found.task.as_str()).collect::<Vec<_>>(), ["convert", "crawl"]);
    assert_eq!(&text[tasks[0].span.clone()], "convert");
}

#[test]
fn a_trigger_knows_little_before_there_is_a_run() {
    let of = |place, text| {
        let names = Names {
            data_interval: false,
            params: &["objects"],
            environments: &[("local", vec!["queue"])],
            secrets: None,
            place,
            links: &[],
            trigger: &["objects"],
            shared: false,
        };
        check(text, &names).faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>()
    };
    assert_eq!(of(Place::Version, "{{ vars.queue }}"), Vec::<String>::new());
    assert_eq!(of(Place::TriggerParams, "{{ trigger.objects | length }}"), Vec::<String>::new());
    assert_eq!(of(Place::TriggerParams, "{{ trigger.object }}"), ["there is no field of `trigger` `object`"]);
    for (place, text) in [(Place::Version, "{{ ds }}"), (Place::Version, "{{ trigger.objects }}")] {
        assert!(of(place, text)[0].starts_with("only `vars` are known here"), "{text}");
    }
    for text in ["{{ params.objects }}", "{{ run.id }}"] {
        assert!(of(Place::TriggerParams, text)[0].starts_with("only `trigger` and `vars`"), "{text}");
    }
}

#[test]
fn a_mistake_lies_in_the_text() {
    let names = Names {
        data_interval: false,
        params: &[],
        environments: &[],
        secrets: None,
        place: Place::Task,
        links: &[],
        trigger: &[],
        shared: false,
    };
    for text in ["{{ links.console') }}", "{{ '", "{% if", "{#"] {
        let faults = check(text, &names).faults;
        assert!(!faults.is_empty() && faults.iter().all(|fault| fault.span.end <= text.len()), "{faults:?}");
    }
}
