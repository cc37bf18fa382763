"""State machines in JSONata, and variables in both languages, that really run."""

import json
import urllib.error
import uuid

import pytest

from conftest import wait_until
from test_states import chain, ended, events, machine, output, refusal
from test_states_tasks import JOB, job, s3, sandbox, start, states, submitted, types  # noqa: F401 (fixtures among them)

ATHENA = "arn:aws:states:::athena:startQueryExecution.sync"
SNS = "arn:aws:states:::sns:publish"


def jsonata(*steps, **options):
    return chain(*steps, QueryLanguage="JSONata", **options)


def glue_task(job, key, **more):
    arguments = {"--bucket": "tasks", "--key": key, "--execution": "{% $states.context.Execution.Name %}"}
    return {"Type": "Task", "Resource": JOB, "Arguments": {"JobName": job, "Arguments": arguments}, **more}


def exited(states, arn, name):
    """The details of the first exit of a state."""
    details = (event.get("stateExitedEventDetails", {}) for event in events(states, arn))
    return next(one for one in details if one.get("name") == name)


def test_a_job_is_called_with_arguments_and_its_result_assigned(sandbox, states, s3, job):
    s3.put_object(Bucket="tasks", Key="flag", Body=b"go")
    definition = jsonata(
        ("Plan", {"Type": "Pass", "Assign": {"key": "{% $states.input.keys[0] %}", "limit": 2}, "Output": {"job": job}}),
        ("Convert", {
            **glue_task(job, "{% $key %}"), "TimeoutSeconds": "{% $limit * 1800 %}",
            "Assign": {"state": "{% $states.result.JobRunState %}", "limit": "{% $limit + 1 %}"},
            "Output": {"of": "{% $states.input.job %}", "state": "{% $states.result.JobRunState %}", "limit": "{% $limit %}"},
        }),
        ("Done", {"Type": "Succeed", "Output": "{% $merge([$states.input, {'later': [$state, $limit]}]) %}"}),
    )
    arn = start(states, "arguments", definition, {"keys": ["flag"]})
    assert output(ended(states, arn)) == {"of": job, "state": "SUCCEEDED", "limit": 2, "later": ["SUCCEEDED", 3]}
    scheduled = next(e["taskScheduledEventDetails"] for e in events(states, arn) if e["type"] == "TaskScheduled")
    assert scheduled["timeoutInSeconds"] == 3600
    expected = {"--bucket": "tasks", "--key": "flag", "--execution": "e"}
    assert json.loads(scheduled["parameters"]) == {"JobName": job, "Arguments": expected}
    line, = sandbox.ledger(operation="StartJobRun")
    run = sandbox.client("glue").get_job_run(JobName=job, RunId=line["id"])["JobRun"]
    assert run["Arguments"]["--execution"] == "e"
    details = exited(states, arn, "Convert")
    assert details["assignedVariables"] == {"state": '"SUCCEEDED"', "limit": "3"}
    assert details["assignedVariablesDetails"] == {"truncated": False}
    bare = events(states, arn, includeExecutionData=False)
    assert not any("assignedVariables" in event.get("stateExitedEventDetails", {}) for event in bare)


def test_queries_messages_loops_and_waits(sandbox, states, s3):
    glue, sns = sandbox.client("glue"), sandbox.client("sns")
    s3.put_object(Bucket="tasks", Key="in/people/p.json", Body=b'{"name": "ada"}\n{"name": "bob"}\n')
    glue.create_database(DatabaseInput={"Name": "people_db"})
    glue.create_crawler(Name="people", Role="r", DatabaseName="people_db",
                        Targets={"S3Targets": [{"Path": "s3://tasks/in/people/"}]})
    topic = sns.create_topic(Name="told")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.com")
    definition = jsonata(
        ("Crawl", {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:glue:startCrawler",
                   "Arguments": {"Name": "{% $states.input.crawler %}"}, "Output": "{% $states.input %}",
                   "Assign": {"looks": 0, "crawler": "{% $states.input.crawler %}"}}),
        ("Pause", {"Type": "Wait", "Seconds": "{% 5 + $looks %}", "Assign": {"looks": "{% $looks + 1 %}"}}),
        ("Look", {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:glue:getCrawler",
                  "Arguments": {"Name": "{% $crawler %}"}}),
        ("Ready", {"Type": "Choice", "Default": "Pause", "Choices": [
            {"Condition": "{% $states.input.Crawler.State = 'READY' %}", "Output": "{% $crawler %}", "Next": "Query"}]}),
        ("Query", {"Type": "Task", "Resource": ATHENA,
                   "Arguments": {"QueryString": "{% 'SELECT count(*) AS n FROM ' & $states.input %}",
                                 "QueryExecutionContext": {"Database": "people_db"},
                                 "ResultConfiguration": {"OutputLocation": "s3://tasks/results/"}},
                   "Output": "{% $states.result.QueryExecution.QueryExecutionId %}"}),
        ("Rows", {"Type": "Task", "Resource": "arn:aws:states:::athena:getQueryResults",
                  "Arguments": {"QueryExecutionId": "{% $states.input %}"},
                  "Assign": {"people": "{% $number($states.result.ResultSet.Rows[1].Data[0].VarCharValue) %}"}}),
        ("Tell", {"Type": "Task", "Resource": SNS,
                  "Arguments": {"TopicArn": topic, "Subject": "counted", "Message": {
                      "people": "{% $people %}", "from": "{% $states.context.State.Name %}", "plain": "$people"}},
                  "Output": {"people": "{% $people * 2 %}", "id": "{% $states.result.MessageId %}",
                             "looked": "{% $looks > 0 %}"}}),
    )
    made = output(ended(states, start(states, "all", definition, {"crawler": "people"})))
    assert (made["people"], made["looked"]) == (4, True) and made["id"]
    mail, = sandbox.mails
    assert '{"people":2,"from":"Tell","plain":"$people"}' in mail.read_text()
    operations = [line["operation"] for line in sandbox.ledger()]
    assert operations == ["StartExecution", "StartCrawler", "StartQueryExecution", "Publish"]


def test_maps_and_branches_have_variables_of_their_own(states):
    square = chain(
        ("Square", {"Type": "Pass", "Assign": {"square": "{% $states.input.n * $states.input.n + $bias %}"}}),
        ("Give", {"Type": "Pass", "Output": {"at": "{% $states.input.at %}", "square": "{% $square %}"}}),
    )
    branches = [
        chain((f"Branch{n}", {"Type": "Pass", "Output": f"{{% $bias + $states.input + {n} %}}"})) for n in (1, 2)
    ]
    definition = jsonata(
        ("Set", {"Type": "Pass", "Assign": {"bias": 0.5, "list": "{% $partition($range(1, 4, 1), 2) %}"}}),
        ("Each", {"Type": "Map", "Items": "{% $list[1] %}", "MaxConcurrency": "{% $count($list) %}",
                  "ItemSelector": {"n": "{% $states.context.Map.Item.Value %}",
                                   "at": "{% $states.context.Map.Item.Index %}"},
                  "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, **square},
                  "Output": {"squares": "{% $states.result.square %}", "raw": "{% $states.result %}"}}),
        ("Literal", {"Type": "Map", "Items": [1, "{% $bias %}", {"a": "b"}],
                     "ItemProcessor": chain(("Same", {"Type": "Pass"})), "Assign": {"items": "{% $states.result %}"},
                     "Output": "{% $states.input %}"}),
        ("Both", {"Type": "Parallel", "Arguments": "{% $count($states.input.squares) %}", "Branches": branches,
                  "Output": "{% $merge([$states.input, {'both': $states.result, 'items': $items}]) %}"}),
    )
    arn = start(states, "scopes", definition)
    assert output(ended(states, arn)) == {
        "squares": [9.5, 16.5], "raw": [{"at": 0, "square": 9.5}, {"at": 1, "square": 16.5}],
        "both": [3.5, 4.5], "items": [1, 0.5, {"a": "b"}],
    }
    assert types(states, arn).count("MapIterationSucceeded") == 5


def test_a_refused_call_is_tried_again_and_caught_with_its_error(sandbox, states, s3, job):
    caught = {
        "ErrorEquals": ["Glue.EntityNotFoundException"], "Next": "Tell",
        "Assign": {"error": "{% $states.errorOutput.Error %}"},
        "Output": {"cause": "{% $states.errorOutput.Cause %}", "input": "{% $states.input %}"},
    }
    definition = jsonata(
        ("Convert", glue_task("no-such-job", "k", Catch=[caught],
                              Retry=[{"ErrorEquals": ["States.TaskFailed"], "IntervalSeconds": 1, "MaxAttempts": 2}])),
        ("Skip", {"Type": "Succeed"}),
        ("Tell", {"Type": "Fail", "Error": "{% 'Mine.' & $error %}",
                  "Cause": "{% $states.input.input.who & ': ' & $states.input.cause %}"}),
    )
    shown = ended(states, start(states, "caught", definition, {"who": "ada"}))
    assert (shown["status"], shown["error"]) == ("FAILED", "Mine.Glue.EntityNotFoundException")
    assert shown["cause"].startswith("ada: ") and "no-such-job" in shown["cause"]
    assert types(states, shown["executionArn"]).count("TaskSubmitFailed") == 3


def test_a_failed_evaluation_is_told_and_caught(states):
    cause = (
        "An error occurred while executing the state 'Tell' (entered at the event id #2). The JSONata expression "
        "'$states.input.topic' specified for the field 'Arguments/TopicArn' returned nothing (undefined)."
    )
    task = {"Type": "Task", "Resource": SNS, "Arguments": {"TopicArn": "{% $states.input.topic %}", "Message": "m"}}
    uncaught = start(states, "uncaught", jsonata(("Tell", task)))
    shown = ended(states, uncaught)
    assert (shown["error"], shown["cause"]) == ("States.QueryEvaluationError", cause)
    assert types(states, uncaught) == ["ExecutionStarted", "TaskStateEntered", "EvaluationFailed", "ExecutionFailed"]
    told = events(states, uncaught)[2]["evaluationFailedEventDetails"]
    assert told == {"error": "States.QueryEvaluationError", "cause": cause, "location": "Arguments/TopicArn", "state": "Tell"}
    catcher = {"ErrorEquals": ["States.QueryEvaluationError"], "Next": "Done", "Output": "{% $states.errorOutput %}"}
    again = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}]
    definition = jsonata(("Tell", {**task, "Catch": [catcher], "Retry": again}), ("Done", {"Type": "Succeed"}))
    arn = start(states, "evaluation", definition)
    assert output(ended(states, arn)) == {"Error": "States.QueryEvaluationError", "Cause": cause}
    assert types(states, arn).count("EvaluationFailed") == 2


def test_a_runaway_expression_fails_its_state(states):
    for index, (expression, code) in enumerate([
        ("($f := function() { $f() }; $f())", "D1012"),
        ("($f := function($n) { 1 + $f($n) }; $f(1))", "D1011"),
        ("$sum([1..9000000])", "D2015"),
    ]):
        shown = ended(states, start(states, f"runaway-{index}", jsonata(("P", {"Type": "Pass", "Output": f"{{% {expression} %}}"}))))
        assert (shown["status"], shown["error"]) == ("FAILED", "States.QueryEvaluationError")
        assert code in shown["cause"], shown["cause"]


def test_both_languages_share_variables(states, s3, job):
    s3.put_object(Bucket="tasks", Key="flag", Body=b"go")
    definition = chain(
        ("Set", {"Type": "Pass", "Result": {"key": "flag"}, "Assign": {"order.$": "$", "who.$": "$$.Execution.Name"}}),
        ("Convert", {"Type": "Task", "Resource": JOB, "Parameters": {"JobName": job, "Arguments": {
            "--bucket": "tasks", "--key.$": "$order.key", "--who.$": "States.Format('{}!', $who)"}},
            "Assign": {"state.$": "$.JobRunState"}, "ResultSelector": {"run.$": "$.Id"}}),
        ("Pick", {"Type": "Choice", "Default": "No", "Choices": [
            {"Variable": "$state", "StringEquals": "SUCCEEDED", "Assign": {"picked": [1]}, "Next": "Yes"}]}),
        ("No", {"Type": "Fail", "Error": "No"}),
        ("Yes", {"Type": "Pass", "QueryLanguage": "JSONata",
                 "Output": {"run": "{% $states.input.run %}", "state": "{% $state %}", "who": "{% $who %}", "n": "{% $picked[0] %}"}}),
        ("End", {"Type": "Succeed", "OutputPath": "$"}),
    )
    made = output(ended(states, start(states, "both", definition)))
    assert made.pop("run").startswith("jr_")
    assert made == {"state": "SUCCEEDED", "who": "e", "n": 1}


def test_after_a_kill_variables_and_chance_are_what_they_were(sandbox, s3, job):
    inner = chain(
        ("Mark", {"Type": "Pass", "Assign": {"mark": "{% $states.input & '-' & $uuid() %}"}}),
        ("Convert", {**glue_task(job, "{% $states.input %}"), "Output": "{% [$mark, $states.result.JobRunState, $set] %}"}),
    )
    definition = jsonata(
        ("Before", {"Type": "Pass", "Assign": {"set": "{% $uuid() %}", "at": "{% $now() %}", "thrown": "{% $random() %}"}}),
        ("Jobs", {"Type": "Map", "Items": "{% $states.input.keys %}", "ItemProcessor": inner,
                  "ItemSelector": "{% $states.context.Map.Item.Value %}"}),
        ("After", {"Type": "Succeed", "Output": {
            "jobs": "{% $states.input %}", "set": "{% $set %}", "at": "{% $at %}", "thrown": "{% $thrown %}"}}),
    )
    states = sandbox.client("stepfunctions")
    arn = start(states, "killed", definition, {"keys": ["one", "two"]})
    submitted(states, arn, 2)
    before = events(states, arn)
    kept = exited(states, arn, "Before")["assignedVariables"]
    s3.put_object(Bucket="tasks", Key="one", Body=b"go")
    wait_until(lambda: "TaskSucceeded" in types(states, arn), 30, "the first job to end")
    sandbox.restart()
    states, s3 = sandbox.client("stepfunctions"), sandbox.client("s3")
    assert states.describe_execution(executionArn=arn)["status"] == "RUNNING"
    sandbox.restart()
    states, s3 = sandbox.client("stepfunctions"), sandbox.client("s3")
    s3.put_object(Bucket="tasks", Key="two", Body=b"go")
    made = output(ended(states, arn))
    assert {name: json.dumps(made[name]) for name in ("set", "at", "thrown")} == kept
    uuid.UUID(made["set"])
    marks = [
        json.loads(event["stateExitedEventDetails"]["assignedVariables"]["mark"])
        for event in before
        if event.get("stateExitedEventDetails", {}).get("name") == "Mark"
    ]
    assert sorted(made["jobs"]) == sorted([mark, "SUCCEEDED", made["set"]] for mark in marks)
    assert [mark[:4] for mark, _, _ in made["jobs"]] == ["one-", "two-"]
    assert events(states, arn)[: len(before)] == before, "history is never changed"
    assert len(sandbox.ledger(operation="StartJobRun")) == 2


def test_what_is_wrong_is_told_with_its_place(states):
    def told(state, **options):
        definition = jsonata(("A", state), **options)
        refused = refusal(machine, states, "wrong", definition)
        assert refused["Code"] == "InvalidDefinition"
        validated = states.validate_state_machine_definition(definition=json.dumps(definition))
        assert validated["result"] == "FAIL"
        one = validated["diagnostics"][0]
        assert one["code"] == "SCHEMA_VALIDATION_FAILED" and one["message"] in refused["Message"]
        return one["location"], one["message"]

    place, text = told({"Type": "Pass", "Output": {"a": ["{% $states.input. %}"]}})
    assert place == "/States/A/Output/a/0" and "no JSONata expression" in text
    place, text = told({"Type": "Pass", "Parameters": {"a.$": "$.a"}})
    assert place == "/States/A/Parameters" and "only supported for the 'JSONPath'" in text
    place, text = told({"Type": "Pass", "QueryLanguage": "JSONPath"})
    assert place == "/States/A" and "can not be 'JSONPath'" in text
    place, text = told({"Type": "Pass", "Output": "{% $eval('1') %}"})
    assert place == "/States/A/Output" and "$eval" in text
    processor = chain(("B", {"Type": "Pass", "Assign": {"x": 1}}))
    place, text = told({"Type": "Map", "Assign": {"x": 1}, "ItemProcessor": processor})
    assert place == "/States/A/ItemProcessor/States/B/Assign/x" and "outer scope" in text


TEMPLATE = """
Resources:
  Topic: {Type: AWS::SNS::Topic, Properties: {TopicName: jsonata-topic}}
  Role: {Type: AWS::IAM::Role}
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      StateMachineName: jsonata
      RoleArn: !GetAtt Role.Arn
      Definition:
        QueryLanguage: JSONata
        StartAt: Tell
        States:
          Tell: {Type: Pass, Assign: {topic: "${Topic}"}, Next: Done}
          Done: {Type: Succeed, Output: "{% $topic & '/' & $states.input.n %}"}
      DefinitionSubstitutions: {Topic: !Ref Topic}
"""


def test_provisioning(sandbox, states):
    sandbox.own("provision", {"template": TEMPLATE, "stack": "jsonata"})
    machine_arn = "arn:aws:states:us-east-1:000000000000:stateMachine:jsonata"
    started = states.start_execution(stateMachineArn=machine_arn, input='{"n": 3}')["executionArn"]
    assert output(ended(states, started)) == "arn:aws:sns:us-east-1:000000000000:jsonata-topic/3"
    with pytest.raises(urllib.error.HTTPError) as error:
        sandbox.own("provision", {"template": TEMPLATE.replace("$topic &", "$topic & &"), "stack": "jsonata"})
    assert "no JSONata expression" in json.load(error.value)["error"]["message"]
