"""Step Functions as boto3 sees it: definitions, executions, their history, their names."""

import datetime
import json
import urllib.error

import pytest
from botocore.exceptions import ClientError

from conftest import wait_until

ROLE = "arn:aws:iam::000000000000:role/states"
# Longer than any execution of these tests takes on a busy machine.
LIMIT = 60.0


@pytest.fixture
def states(sandbox):
    return sandbox.client("stepfunctions")


@pytest.fixture
def name(request):
    text = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())
    return text[5:75].strip("-")


def machine(states, name, definition, **options):
    definition = json.dumps(definition)
    return states.create_state_machine(name=name, definition=definition, roleArn=ROLE, **options)["stateMachineArn"]


def chain(*steps, **options):
    """A definition of states that follow each other: (name, state) pairs."""
    described = {}
    for index, (name, state) in enumerate(steps):
        ends = state["Type"] in ("Choice", "Succeed", "Fail") or "Next" in state
        follow = {"Next": steps[index + 1][0]} if index + 1 < len(steps) else {"End": True}
        described[name] = state if ends else {**state, **follow}
    return {"StartAt": steps[0][0], "States": described, **options}


def ended(states, arn):
    def look():
        shown = states.describe_execution(executionArn=arn)
        return shown["status"] != "RUNNING" and shown

    return wait_until(look, LIMIT, f"the end of {arn}")


def run(states, name, definition, value=None, **options):
    """Makes a machine, runs it to its end, describes the execution."""
    arn = machine(states, name, definition, **options)
    started = states.start_execution(stateMachineArn=arn, input=json.dumps({} if value is None else value))
    return ended(states, started["executionArn"])


def output(shown):
    assert shown["status"] == "SUCCEEDED", shown
    return json.loads(shown["output"])


def events(states, arn, **options):
    pages = states.get_paginator("get_execution_history").paginate(executionArn=arn, **options)
    return [event for page in pages for event in page["events"]]


def refusal(call, *arguments, **options):
    with pytest.raises(ClientError) as error:
        call(*arguments, **options)
    return error.value.response["Error"]


def test_data_flows_through_the_states(states, name):
    definition = chain(
        ("Take", {"Type": "Pass", "InputPath": "$.order", "ResultPath": "$.taken", "Parameters": {
            "id.$": "$.id", "name.$": "States.Format('{}-{}', $.id, $$.StateMachine.Name)", "fixed": [1],
        }}),
        ("Pick", {"Type": "Choice", "Choices": [
            {"Variable": "$.taken.id", "NumericGreaterThan": 10, "Next": "Large"},
            {"And": [{"Variable": "$.taken.id", "IsPresent": True}, {"Not": {"Variable": "$.x", "IsPresent": True}}],
             "Next": "Small"},
        ], "Default": "Large"}),
        ("Large", {"Type": "Fail", "Error": "TooLarge"}),
        ("Small", {"Type": "Pass", "Result": {"size": "small"}, "ResultPath": "$.result", "OutputPath": "$.taken"}),
        ("Done", {"Type": "Succeed", "InputPath": "$.name"}),
    )
    shown = run(states, name, definition, {"order": {"id": 5}})
    assert output(shown) == f"5-{name}"
    types = [event["type"] for event in events(states, shown["executionArn"])]
    assert types == [
        "ExecutionStarted", "PassStateEntered", "PassStateExited", "ChoiceStateEntered", "ChoiceStateExited",
        "PassStateEntered", "PassStateExited", "SucceedStateEntered", "SucceedStateExited", "ExecutionSucceeded",
    ]
    shown = run(states, f"{name}-2", {**definition, "Comment": "2"}, {"order": {"id": 11}})
    assert (shown["status"], shown["error"]) == ("FAILED", "TooLarge")
    newest = events(states, shown["executionArn"], reverseOrder=True)
    assert newest[0]["type"] == "ExecutionFailed"
    assert newest[1]["stateEnteredEventDetails"]["name"] == "Large" and newest[0]["previousEventId"] == newest[1]["id"]


def test_maps_and_branches_keep_their_order(states, name):
    square = chain(("One", {"Type": "Pass", "Parameters": {"n.$": "$.item", "at.$": "$.index", "of.$": "$.of"}}))
    definition = chain(
        ("Each", {"Type": "Map", "ItemsPath": "$.list", "MaxConcurrency": 2, "ResultPath": "$.mapped",
                  "ItemSelector": {"item.$": "$$.Map.Item.Value", "index.$": "$$.Map.Item.Index", "of.$": "$.of"},
                  "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, **square}}),
        ("Both", {"Type": "Parallel", "ResultSelector": {"first.$": "$[0]", "all.$": "$"}, "Branches": [
            chain(("A", {"Type": "Pass", "Result": "a"})),
            chain(("B", {"Type": "Pass", "OutputPath": "$.mapped[*].n"})),
        ]}),
    )
    shown = run(states, name, definition, {"list": ["x", "y", "z"], "of": 3})
    assert output(shown) == {"first": "a", "all": ["a", ["x", "y", "z"]]}
    history = events(states, shown["executionArn"])
    exited = next(e for e in history if e["type"] == "MapStateExited")
    mapped = json.loads(exited["stateExitedEventDetails"]["output"])["mapped"]
    assert mapped == [{"n": v, "at": i, "of": 3} for i, v in enumerate("xyz")]
    assert sum(event["type"] == "MapIterationSucceeded" for event in history) == 3


def test_errors_are_caught_by_name_and_place(states, name):
    inner = {"StartAt": "Break", "States": {"Break": {"Type": "Fail", "Error": "Custom.Bad", "Cause": "it is broken"}}}
    other = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}
    definition = chain(
        ("Both", {"Type": "Parallel", "Branches": [inner, other],
                  "Catch": [{"ErrorEquals": ["Other"], "Next": "Never"},
                            {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Caught"}],
                  "Next": "Never"}),
        ("Caught", {"Type": "Pass", "End": True, "Next": None}),
        ("Never", {"Type": "Fail", "Error": "Never"}),
    )
    del definition["States"]["Caught"]["Next"]
    shown = run(states, name, definition, {"kept": 1})
    assert output(shown) == {"kept": 1, "error": {"Error": "Custom.Bad", "Cause": "it is broken"}}

    uncaught = {"StartAt": "Both", "States": {"Both": {"Type": "Parallel", "Branches": [inner], "End": True}}}
    shown = run(states, f"{name}-2", uncaught)
    assert (shown["status"], shown["error"], shown["cause"]) == ("FAILED", "Custom.Bad", "it is broken")


def test_mistakes_at_run_time_end_the_execution(states, name):
    for index, (state, error) in enumerate([
        ({"Type": "Pass", "InputPath": "$.none"}, "States.Runtime"),
        ({"Type": "Pass", "Parameters": {"a.$": "$.none"}}, "States.ParameterPathFailure"),
        ({"Type": "Pass", "Parameters": {"a.$": "States.StringToJson('{')"}}, "States.IntrinsicFailure"),
        ({"Type": "Pass", "ResultPath": "$.text.below"}, "States.ResultPathMatchFailure"),
        ({"Type": "Map", "ItemsPath": "$.text", "ItemProcessor": chain(("P", {"Type": "Pass"}))}, "States.Runtime"),
        ({"Type": "Choice", "Choices": [{"Variable": "$.text", "StringEquals": "x", "Next": "S"}]},
         "States.NoChoiceMatched"),
        ({"Type": "Choice", "Choices": [{"Variable": "$.none", "StringEquals": "x", "Next": "S"}]}, "States.Runtime"),
    ]):
        shown = run(states, f"{name}-{index}", chain(("S0", state), ("S", {"Type": "Succeed"})) , {"text": "t"})
        assert (shown["status"], shown["error"]) == ("FAILED", error), shown


def test_a_name_is_taken_once(own_sandbox):
    sandbox = own_sandbox("--time-scale", "0.01")
    states = sandbox.client("stepfunctions")
    arn = machine(states, "named", chain(("W", {"Type": "Wait", "SecondsPath": "$.wait"})))
    first = states.start_execution(stateMachineArn=arn, name="e-1", input='{"wait": 300}')
    again = states.start_execution(stateMachineArn=arn, name="e-1", input='{"wait": 300}')
    assert first["executionArn"] == again["executionArn"] and first["startDate"] == again["startDate"]
    assert first["executionArn"] == "arn:aws:states:us-east-1:000000000000:execution:named:e-1"
    other = refusal(states.start_execution, stateMachineArn=arn, name="e-1", input='{"wait": 1}')
    assert other["Code"] == "ExecutionAlreadyExists"
    assert ended(states, first["executionArn"])["status"] == "SUCCEEDED"
    closed = refusal(states.start_execution, stateMachineArn=arn, name="e-1", input='{"wait": 300}')
    assert closed["Code"] == "ExecutionAlreadyExists"
    lines = sandbox.ledger(operation="StartExecution")
    assert [(line["marker"], line["subject"], line["id"]) for line in lines] == [("e-1", "named", first["executionArn"])]


def test_refusals_in_the_words_of_the_service(states, name):
    definition = chain(("W", {"Type": "Wait", "Seconds": 3600}))
    arn = machine(states, name, definition)
    assert machine(states, name, definition) == arn, "the same request again is no error"
    changed = {**definition, "Comment": "changed"}
    assert refusal(machine, states, name, changed)["Code"] == "StateMachineAlreadyExists"
    assert refusal(states.start_execution, stateMachineArn=f"{arn}-no")["Code"] == "StateMachineDoesNotExist"
    assert refusal(states.start_execution, stateMachineArn="no")["Code"] == "InvalidArn"
    assert refusal(states.start_execution, stateMachineArn=arn, input="{")["Code"] == "InvalidExecutionInput"
    assert refusal(states.start_execution, stateMachineArn=arn, name="a b")["Code"] == "InvalidName"
    none = arn.replace("stateMachine", "execution") + ":none"
    for call in (states.describe_execution, states.stop_execution, states.get_execution_history):
        assert refusal(call, executionArn=none)["Code"] == "ExecutionDoesNotExist"
    unknown = {"QueryLanguage": "JMESPath", **definition}
    told = refusal(machine, states, f"{name}-2", unknown)
    assert told["Code"] == "InvalidDefinition" and "QueryLanguage is JSONPath or JSONata" in told["Message"]
    validated = states.validate_state_machine_definition(definition=json.dumps(unknown))
    assert validated["result"] == "FAIL" and validated["diagnostics"][0]["location"] == "/QueryLanguage"
    assert states.validate_state_machine_definition(definition=json.dumps(definition))["result"] == "OK"


def test_machines_are_described_listed_changed_and_deleted(states, name):
    definition = chain(("P", {"Type": "Pass", "Result": 1}))
    logging = {"level": "OFF", "includeExecutionData": False}
    arn = machine(states, name, definition, loggingConfiguration=logging)
    shown = states.describe_state_machine(stateMachineArn=arn)
    assert json.loads(shown["definition"]) == definition and shown["type"] == "STANDARD"
    assert shown["loggingConfiguration"] == logging
    pages = states.get_paginator("list_state_machines").paginate(PaginationConfig={"PageSize": 2})
    assert arn in [one["stateMachineArn"] for page in pages for one in page["stateMachines"]]
    states.update_state_machine(stateMachineArn=arn, definition=json.dumps(chain(("P", {"Type": "Pass", "Result": 2}))))
    started = states.start_execution(stateMachineArn=arn)
    assert output(ended(states, started["executionArn"])) == 2
    assert refusal(states.update_state_machine, stateMachineArn=arn)["Code"] == "MissingRequiredParameter"
    states.delete_state_machine(stateMachineArn=arn)
    states.delete_state_machine(stateMachineArn=arn)
    assert refusal(states.describe_state_machine, stateMachineArn=arn)["Code"] == "StateMachineDoesNotExist"
    assert states.describe_execution(executionArn=started["executionArn"])["status"] == "SUCCEEDED"


def test_waits_are_scaled_and_time_out(own_sandbox):
    states = own_sandbox("--time-scale", "0.001").client("stepfunctions")
    began = datetime.datetime.now(datetime.timezone.utc)
    at = (began + datetime.timedelta(seconds=900)).strftime("%Y-%m-%dT%H:%M:%SZ")
    definition = chain(("A", {"Type": "Wait", "Seconds": 900}), ("B", {"Type": "Wait", "TimestampPath": "$.at"}))
    shown = run(states, "waits", definition, {"at": at})
    assert output(shown) == {"at": at}
    assert 0.9 <= (shown["stopDate"] - shown["startDate"]).total_seconds() < 60
    slow = {**chain(("A", {"Type": "Wait", "Seconds": 90_000_000})), "TimeoutSeconds": 100}
    shown = run(states, "slow", slow)
    assert (shown["status"], shown["error"]) == ("TIMED_OUT", "States.Timeout")


def test_stopping_and_listing(states, name):
    arn = machine(states, name, chain(("W", {"Type": "Wait", "Seconds": 3600})))
    one, two = (states.start_execution(stateMachineArn=arn)["executionArn"] for _ in range(2))
    states.stop_execution(executionArn=one, error="Mine", cause="enough")
    shown = states.describe_execution(executionArn=one)
    assert (shown["status"], shown["error"], shown["cause"]) == ("ABORTED", "Mine", "enough")
    assert states.stop_execution(executionArn=one)["stopDate"] == shown["stopDate"], "stopping again changes nothing"
    assert events(states, one)[-1]["executionAbortedEventDetails"] == {"error": "Mine", "cause": "enough"}

    def listed(status):
        found = states.list_executions(stateMachineArn=arn, statusFilter=status)["executions"]
        return [execution["executionArn"] for execution in found]

    assert listed("RUNNING") == [two] and listed("ABORTED") == [one]
    states.stop_execution(executionArn=two)


def test_express_executions_are_not_looked_at(states, name):
    arn = machine(states, name, chain(("P", {"Type": "Pass"})), type="EXPRESS")
    first = states.start_execution(stateMachineArn=arn, name="same")["executionArn"]
    second = states.start_execution(stateMachineArn=arn, name="same")["executionArn"]
    assert first != second and ":express:" in first
    assert refusal(states.describe_execution, executionArn=first)["Code"] == "InvalidArn"
    assert refusal(states.list_executions, stateMachineArn=arn)["Code"] == "StateMachineTypeNotSupported"


def test_content_faults(own_sandbox):
    sandbox = own_sandbox()
    states = sandbox.client("stepfunctions", check=False)
    arn = machine(states, "lagging", chain(("W", {"Type": "Wait", "Seconds": 3600})))
    sandbox.faults({"service": "states", "kind": "list_lag", "lag_ms": 3_600_000})
    execution = states.start_execution(stateMachineArn=arn)["executionArn"]
    assert refusal(states.describe_execution, executionArn=execution)["Code"] == "ExecutionDoesNotExist"
    assert states.list_executions(stateMachineArn=arn)["executions"] == []
    sandbox.faults({"service": "states", "operation": "DescribeExecution", "kind": "unknown_state", "state": "ODD"})
    assert states.describe_execution(executionArn=execution)["status"] == "ODD"


TEMPLATE = """
Resources:
  Topic: {Type: AWS::SNS::Topic, Properties: {TopicName: states-topic}}
  Role: {Type: AWS::IAM::Role}
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      StateMachineName: prov-states
      RoleArn: !GetAtt Role.Arn
      Definition:
        StartAt: Tell
        States:
          Tell: {Type: Pass, Result: {topic: "${Topic}", tries: 3}, End: true}
      DefinitionSubstitutions: {Topic: !Ref Topic}
      LoggingConfiguration: {Level: "OFF", IncludeExecutionData: false}
  Other:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      RoleArn: !GetAtt Role.Arn
      StateMachineType: EXPRESS
      DefinitionString: !Sub |
        {"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": "${AWS::Region}", "ResultPath": null, "End": true}}}
Outputs:
  Machine: {Value: !Ref Machine}
  Name: {Value: !GetAtt Machine.Name}
"""


def test_provisioning(sandbox, states):
    def provision(template):
        return sandbox.own("provision", {"template": template, "stack": "states"})

    def changes(answer):
        return {one["logical_id"]: one["change"] for one in answer["resources"] if "States::" in one["type"] or "StepF" in one["type"]}

    answer = provision(TEMPLATE)
    arn = "arn:aws:states:us-east-1:000000000000:stateMachine:prov-states"
    assert answer["outputs"] == {"Machine": arn, "Name": "prov-states"}
    assert changes(answer) == {"Machine": "created", "Other": "created"}
    shown = states.describe_state_machine(stateMachineArn=arn)
    assert shown["loggingConfiguration"] == {"level": "OFF", "includeExecutionData": False}
    started = states.start_execution(stateMachineArn=arn)["executionArn"]
    topic = "arn:aws:sns:us-east-1:000000000000:states-topic"
    assert output(ended(states, started)) == {"topic": topic, "tries": 3}
    other = states.describe_state_machine(stateMachineArn=arn.replace("prov-states", "states-Other"))
    assert other["type"] == "EXPRESS" and '"us-east-1"' in other["definition"]
    assert changes(provision(TEMPLATE)) == {"Machine": "unchanged", "Other": "unchanged"}
    assert changes(provision(TEMPLATE.replace("tries: 3", "tries: 4"))) == {"Machine": "updated", "Other": "unchanged"}
    with pytest.raises(urllib.error.HTTPError) as error:
        provision(TEMPLATE.replace("Type: Pass, Result", "Type: Pas, Result"))
    assert "no type Pas" in json.load(error.value)["error"]["message"]
