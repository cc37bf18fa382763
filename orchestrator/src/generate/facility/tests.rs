use jiff::civil::date;

use super::*;

fn spec(count: u64, seed: u64) -> FacilitySpec {
    FacilitySpec { seed, count, from: date(2026, 9, 1), days: 60 }
}

fn texts(count: u64, seed: u64) -> Vec<(String, String)> {
    facility(&spec(count, seed)).map(|object| (object.key, String::from_utf8(object.body).unwrap())).collect()
}

fn rows(text: &str) -> Vec<Map<String, Value>> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    assert_eq!(texts(60, 7), texts(60, 7));
    assert_ne!(texts(60, 7), texts(60, 8));
}

#[test]
fn a_larger_count_only_adds() {
    for ((key, few), (_, many)) in texts(20, 7).into_iter().zip(texts(60, 7)) {
        assert!(many.starts_with(&few), "{key}");
    }
}

#[test]
fn the_first_rows_look_as_documented() {
    let files: Vec<String> = texts(4, 42).into_iter().map(|(key, text)| format!("{key}\n{text}")).collect();
    insta::assert_snapshot!(files.join("\n"));
}

#[test]
fn every_row_has_every_key_in_order() {
    for (export, (key, text)) in EXPORTS.iter().zip(texts(200, 3)) {
        let rows = rows(&text);
        assert_eq!(rows.len(), 200, "{key}");
        assert_eq!(key, format!("{0}/{0}.json", export.folder));
        for row in rows {
            assert_eq!(row.keys().collect::<Vec<_>>(), export.header, "{key}");
        }
    }
}

#[test]
fn forty_rows_have_every_layout() {
    let files = texts(40, 42);
    let parsed: Vec<_> = files.iter().map(|(_, text)| rows(text)).collect();
    let any = |file: usize, column: &str, test: &dyn Fn(&str) -> bool| {
        parsed[file].iter().any(|row| row[column].as_str().is_some_and(test))
    };
    for (file, text) in &files {
        assert!(text.contains("\\/") || file.contains("source_2"), "{file}: escaped slashes");
    }
    // Leads: with a website, without, and with an empty cell in front of that.
    assert!(any(0, "is_converted", &|text| text == "FALSE"));
    assert!(any(0, "status", &|text| text == "FALSE"));
    assert!(any(0, "lead_source", &|text| text == "FALSE"));
    assert!(any(0, "mobile_phone", &|text| text.contains('@')));
    assert!(any(0, "postal_code", &|text| text.starts_with('U')), "slid from the title on");
    assert!(any(0, "postal_code", &|text| text == "A2N 2Z6"));
    assert!(
        parsed[0].iter().any(|row| row["phone"].is_u64())
            && parsed[0].iter().any(|row| row["phone"].is_string())
    );
    // Licences whose number begins with zeros.
    assert!(any(1, "Credential Number", &|text| text.starts_with("00")));
    // Hours where they belong, and one to the left; a break within a text; day and night.
    assert!(any(2, "Star Level", &|text| text.contains("Star")));
    assert!(any(2, "Star Level", &|text| text.contains("AM - ")));
    assert!(any(2, "Primary Caregiver", &|text| text.contains("\n\n")));
    assert!(any(2, "Mon", &|text| text == "12:00AM - 12:00AM"));
    assert!(any(2, "Zip", &|text| text.starts_with("Subsidy Contract Number: ")));
    // Two to the left: the facility's id where the capacity should be.
    assert!(
        parsed[3]
            .iter()
            .any(|row| row["Status"].is_null() && row["Facility ID"] == "N" || row["Facility ID"] == "Y")
    );
    assert!(any(3, "Operation Name", &|text| text.contains('"')));
}

#[test]
fn cells_slide_over_the_empty_ones() {
    let cells = |numbers: &[u64]| -> Vec<Value> { numbers.iter().map(|number| (*number).into()).collect() };
    let mut wanted = cells(&[1, 3]);
    wanted.extend([Value::Null, Value::Null]);
    assert_eq!(slid(cells(&[1, 2, 3, 4]), &[2, 4]), wanted);
    assert_eq!(slid(cells(&[1, 2]), &[]), cells(&[1, 2]));
}

#[test]
fn limits_are_said_in_words() {
    let wrong = [
        spec(0, 1),
        spec(COUNT_MAX + 1, 1),
        FacilitySpec { days: 0, ..spec(1, 1) },
        FacilitySpec { days: DAYS_MAX + 1, ..spec(1, 1) },
        FacilitySpec { from: date(1999, 12, 31), ..spec(1, 1) },
        FacilitySpec { from: date(2098, 12, 1), ..spec(1, 1) },
    ];
    let said: Vec<String> = wrong.iter().map(|spec| spec.check().unwrap_err().to_string()).collect();
    insta::assert_snapshot!(said.join("\n"));
    assert!(spec(40, 1).check().is_ok());
}

#[test]
fn the_committed_sample_is_what_its_readme_says() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/facility_models/sample");
    for object in facility(&spec(40, 1)) {
        let committed = std::fs::read(folder.join(&object.key)).unwrap_or_default();
        assert_eq!(committed, object.body, "{}", object.key);
    }
}
