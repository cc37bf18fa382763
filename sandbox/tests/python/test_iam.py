"""IAM as boto3 sees it: roles of templates, and what their policies allow."""

import json

import pytest
from botocore.exceptions import ClientError

TEMPLATE = """
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      RoleName: reader
      Policies:
        - PolicyName: read
          PolicyDocument:
            Version: "2012-10-17"
            Statement:
              - {Effect: Allow, Action: ["s3:Get*", "s3:ListBucket"], Resource: ["arn:aws:s3:::lake", "arn:aws:s3:::lake/*"]}
              - {Effect: Deny, Action: "s3:*", Resource: "arn:aws:s3:::lake/secret/*"}
  More:
    Type: AWS::IAM::Policy
    Properties:
      PolicyName: more
      Roles: [!Ref Role]
      PolicyDocument: {Statement: {Effect: Allow, Action: "sns:Publish", Resource: "*"}}
  Admin:
    Type: AWS::IAM::Role
    Properties: {RoleName: admin, ManagedPolicyArns: ["arn:aws:iam::aws:policy/AdministratorAccess"]}
  Other:
    Type: AWS::IAM::Role
    Properties: {RoleName: other, ManagedPolicyArns: ["arn:aws:iam::aws:policy/ReadOnlyAccess"]}
"""


def arn(role):
    return f"arn:aws:iam::000000000000:role/{role}"


@pytest.fixture(scope="module")
def iam(sandbox):
    sandbox.own("provision", {"template": TEMPLATE, "stack": "iam"})
    return sandbox.client("iam")


def decisions(iam, role, actions, resources):
    answer = iam.simulate_principal_policy(PolicySourceArn=role, ActionNames=actions, ResourceArns=resources)
    assert answer["IsTruncated"] is False
    return {
        (result["EvalActionName"], one["EvalResourceName"]): one["EvalResourceDecision"]
        for result in answer["EvaluationResults"]
        for one in result["ResourceSpecificResults"]
    }


def test_policies_are_evaluated(iam):
    lake, secret = "arn:aws:s3:::lake/a", "arn:aws:s3:::lake/secret/a"
    assert decisions(iam, arn("reader"), ["s3:GetObject", "s3:PutObject"], [lake, secret]) == {
        ("s3:GetObject", lake): "allowed",
        ("s3:GetObject", secret): "explicitDeny",
        ("s3:PutObject", lake): "implicitDeny",
        ("s3:PutObject", secret): "explicitDeny",
    }
    topic = "arn:aws:sns:us-east-1:000000000000:t"
    assert decisions(iam, arn("reader"), ["sns:Publish"], [topic]) == {("sns:Publish", topic): "allowed"}
    assert decisions(iam, arn("admin"), ["iam:PassRole"], ["*"]) == {("iam:PassRole", "*"): "allowed"}
    owner = "arn:aws:iam::000000000000:user/sandbox"
    assert decisions(iam, owner, ["glue:StartJobRun"], ["*"]) == {("glue:StartJobRun", "*"): "allowed"}


def test_policies_can_be_added(sandbox, iam):
    document = json.dumps({"Statement": [{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]})
    iam.put_role_policy(RoleName="reader", PolicyName="queues", PolicyDocument=document)
    assert decisions(iam, arn("reader"), ["sqs:SendMessage"], ["*"]) == {("sqs:SendMessage", "*"): "allowed"}


def code_of(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


def test_refusals(iam):
    simulate = iam.simulate_principal_policy
    assert code_of(simulate, PolicySourceArn=arn("absent-role"), ActionNames=["s3:GetObject"]) == "NoSuchEntity"
    assert code_of(simulate, PolicySourceArn=arn("other"), ActionNames=["s3:GetObject"]) == "PolicyEvaluation"
    assert code_of(simulate, PolicySourceArn=arn("reader"), ActionNames=["s3:*"]) == "InvalidInput"
    wrong = {"RoleName": "reader", "PolicyName": "p", "PolicyDocument": json.dumps({"Statement": [{"Effect": "Allow"}]})}
    assert code_of(iam.put_role_policy, **wrong) == "MalformedPolicyDocument"
