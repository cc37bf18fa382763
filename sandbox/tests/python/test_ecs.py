"""ECS as boto3 sees it: tasks that really run."""

import pytest
from botocore.exceptions import ClientError

from conftest import wait_until


@pytest.fixture
def ecs(sandbox):
    client = sandbox.client("ecs")
    client.create_cluster(clusterName="etl")
    return client


def container(command, **more):
    return {"name": "main", "image": "repo/etl:1", "command": command} | more


def python(text):
    return ["python", "-c", text]


def register(ecs, family, *containers, **more):
    return ecs.register_task_definition(family=family, containerDefinitions=list(containers), **more)["taskDefinition"]


def run(ecs, family, **more):
    answer = ecs.run_task(cluster="etl", taskDefinition=family, **more)
    assert answer["failures"] == [] and len(answer["tasks"]) == 1, answer
    return answer["tasks"][0]["taskArn"]


def stopped(ecs, arn):
    def end():
        task = ecs.describe_tasks(cluster="etl", tasks=[arn])["tasks"][0]
        return task["lastStatus"] == "STOPPED" and task

    return wait_until(end, 60, "the task to stop")


def code_of(act):
    with pytest.raises(ClientError) as error:
        act()
    return error.value.response["Error"]["Code"]


def test_a_task_runs_its_command_with_its_variables(sandbox, ecs):
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "/ecs/t", "awslogs-stream-prefix": "p", "awslogs-region": "us-east-1"}}
    text = "import os; print(os.environ['A'], os.environ['B'], os.environ['AWS_ENDPOINT_URL'])"
    environment = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    register(ecs, "vars", container(python(text), environment=environment, logConfiguration=logs))
    over = {"containerOverrides": [{"name": "main", "environment": [{"name": "B", "value": "3"}]}]}
    arn = run(ecs, "vars", overrides=over, startedBy="me", clientToken="t-1")
    task = stopped(ecs, arn)
    assert (task["stopCode"], task["stoppedReason"]) == (
        "EssentialContainerExited", "Essential container in task exited",
    )
    assert [(found["name"], found["exitCode"]) for found in task["containers"]] == [("main", 0)]
    assert task["startedBy"] == "me" and task["startedAt"] <= task["stoppedAt"]
    stream = f"p/main/{arn.rsplit('/')[-1]}"
    events = sandbox.client("logs").get_log_events(logGroupName="/ecs/t", logStreamName=stream)["events"]
    assert [event["message"] for event in events] == [f"1 3 {sandbox.endpoint}"]
    (line,) = sandbox.ledger(service="ecs", subject="vars")
    assert (line["operation"], line["marker"], line["id"]) == ("RunTask", "t-1", arn)


def test_the_same_token_is_the_same_task(sandbox, ecs):
    register(ecs, "token", container(python("pass")))
    first = run(ecs, "token", clientToken="same")
    assert run(ecs, "token", clientToken="same") == first
    stopped(ecs, first)
    assert run(ecs, "token", clientToken="same") == first, "also after its end"
    assert code_of(lambda: run(ecs, "token", clientToken="same", startedBy="other")) == "ConflictException"
    assert len(sandbox.ledger(service="ecs", subject="token")) == 1


def test_exit_codes_and_sidecars(ecs):
    register(
        ecs, "pair",
        container(python("import sys, time; time.sleep(0.3); sys.exit(3)")),
        {"name": "proxy", "image": "p", "essential": False, "command": python("import time; time.sleep(600)")},
    )
    task = stopped(ecs, run(ecs, "pair"))
    assert {found["name"]: found["exitCode"] for found in task["containers"]} == {"main": 3, "proxy": 137}


def test_what_cannot_start_says_why(ecs):
    register(ecs, "none", {"name": "main", "image": "repo/etl:1"})
    task = stopped(ecs, run(ecs, "none"))
    assert task["stopCode"] == "TaskFailedToStart"
    assert "CannotPullContainerError" in task["stoppedReason"] and "repo/etl:1" in task["stoppedReason"]
    register(ecs, "absent", container(["no-such-program-here"]))
    task = stopped(ecs, run(ecs, "absent"))
    assert "CannotStartContainerError: no-such-program-here" in task["containers"][0]["reason"]


def test_tasks_are_listed_and_stopped(ecs):
    register(ecs, "long", container(python("import time; time.sleep(600)")))
    arn = run(ecs, "long", startedBy="lister")
    assert ecs.list_tasks(cluster="etl", startedBy="lister")["taskArns"] == [arn]
    wait_until(lambda: ecs.describe_tasks(cluster="etl", tasks=[arn])["tasks"][0]["lastStatus"] == "RUNNING", 30, "start")
    ecs.stop_task(cluster="etl", task=arn, reason="enough")
    task = stopped(ecs, arn)
    assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", "enough")
    assert task["containers"][0]["exitCode"] == 137
    assert ecs.list_tasks(cluster="etl", startedBy="lister")["taskArns"] == []
    assert arn in ecs.list_tasks(cluster="etl", family="long", desiredStatus="STOPPED")["taskArns"]


def test_what_ecs_refuses(ecs):
    register(ecs, "refused", container(["true"]), networkMode="awsvpc")
    assert code_of(lambda: run(ecs, "refused")) == "InvalidParameterException"
    network = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
    over = {"containerOverrides": [{"name": "other", "command": ["x"]}]}
    wrong = {"networkConfiguration": network, "overrides": over}
    assert code_of(lambda: run(ecs, "refused", **wrong)) == "InvalidParameterException"
    assert code_of(lambda: run(ecs, "absent-family")) == "ClientException"
    assert code_of(lambda: ecs.run_task(cluster="none", taskDefinition="refused")) == "ClusterNotFoundException"
    assert code_of(lambda: ecs.describe_tasks(cluster="etl", tasks=[f"t{n}" for n in range(101)])) == (
        "InvalidParameterException"
    )
    assert ecs.describe_tasks(cluster="etl", tasks=["gone"])["failures"][0]["reason"] == "MISSING"
    second = register(ecs, "refused", container(["true"]))
    assert second["revision"] == 2
    ecs.deregister_task_definition(taskDefinition="refused:2")
    assert ecs.describe_task_definition(taskDefinition="refused")["taskDefinition"]["revision"] == 1


def test_a_task_outlives_the_process(own_sandbox, tmp_path):
    sandbox = own_sandbox()
    ecs = sandbox.client("ecs")
    ecs.create_cluster(clusterName="etl")
    marks = tmp_path / "marks"
    text = f"open({str(marks)!r}, 'a').write('x')\nimport time\nwhile len(open({str(marks)!r}).read()) < 2: time.sleep(0.05)"
    register(ecs, "twice", container(python(text)))
    arn = run(ecs, "twice")
    wait_until(marks.exists, 30, "the task to begin")
    sandbox.restart()
    task = stopped(sandbox.client("ecs"), arn)
    assert task["containers"][0]["exitCode"] == 0
    assert len(sandbox.ledger(operation="RunTask")) == 1


def test_faults_come_in_the_services_words(own_sandbox):
    sandbox = own_sandbox()
    ecs = sandbox.client("ecs")
    ecs.create_cluster(clusterName="etl")
    register(ecs, "f", container(["true"]))
    sandbox.faults(
        {"service": "ecs", "operation": "RunTask", "times": 1, "kind": "throttle"},
        {"service": "ecs", "operation": "RunTask", "skip": 1, "times": 1, "kind": "error_after"},
        {"service": "ecs", "operation": "ListTasks", "kind": "list_lag", "lag_ms": 600000},
        {"service": "ecs", "operation": "DescribeTasks", "kind": "unknown_state", "state": "PONDERING"},
    )
    for code in ["ThrottlingException", "ServerException"]:
        assert code_of(lambda: run(ecs, "f")) == code
    (line,) = sandbox.ledger(operation="RunTask")
    assert ecs.list_tasks(cluster="etl")["taskArns"] == []
    assert ecs.describe_tasks(cluster="etl", tasks=[line["id"]])["tasks"][0]["lastStatus"] == "PONDERING"
