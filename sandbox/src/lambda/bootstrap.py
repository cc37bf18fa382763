"""Runs one call of a Lambda function: what it is given stands in a file, what it answers goes into one.

    python3 bootstrap.py CALL_FILE ANSWER_FILE

Errors are shaped as AWS's Python runtime shapes them. The limit is kept here, so that starting
Python does not count.
"""

import importlib
import json
import os
import sys
import threading
import time
import traceback
import types


def answer(path, told):
    """Written whole or not at all."""
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(told, file)
    os.replace(path + ".part", path)


def failure(kind, message, frames=()):
    return {"error": {"errorMessage": message, "errorType": kind, "requestId": CALL["request_id"],
                      "stackTrace": list(frames)}}


def load(handler):
    """The function that `module.name` names, or why there is none."""
    module_name, _, name = handler.rpartition(".")
    if not module_name:
        return None, failure("Runtime.MalformedHandlerName", f"Bad handler '{handler}': not enough values to unpack")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        return None, failure("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}")
    except SyntaxError as error:
        return None, failure("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}")
    if not hasattr(module, name):
        return None, failure("Runtime.HandlerNotFound", f"Handler '{name}' missing on module '{module_name}'")
    return getattr(module, name), None


class Context:
    """What AWS passes as the second argument."""

    def __init__(self, deadline):
        self._deadline = deadline
        self.aws_request_id = CALL["request_id"]
        self.function_name = CALL["function_name"]
        self.function_version = "$LATEST"
        self.invoked_function_arn = CALL["arn"]
        self.memory_limit_in_mb = str(CALL["memory"])
        self.log_group_name = f"/aws/lambda/{CALL['function_name']}"
        self.log_stream_name = CALL["log_stream"]
        self.identity = types.SimpleNamespace(cognito_identity_id=None, cognito_identity_pool_id=None)
        told = CALL["client_context"]
        self.client_context = None
        if told is not None:
            self.client_context = types.SimpleNamespace(
                custom=told.get("custom"), env=told.get("env"), client=told.get("client")
            )

    def get_remaining_time_in_millis(self):
        return max(0, int((self._deadline - time.monotonic()) * 1000))


def log_error(told):
    error = told["error"]
    print(f"[ERROR] {error['errorType']}: {error['errorMessage']}")
    if error["stackTrace"]:
        print("Traceback (most recent call last):")
        print("".join(error["stackTrace"]), end="")
    sys.stdout.flush()


def ran_out():
    seconds = CALL["timeout"]
    message = f"RequestId: {CALL['request_id']} Error: Task timed out after {seconds:.2f} seconds"
    told = {"error": {"errorType": "Sandbox.Timedout", "errorMessage": message}}
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    sys.stdout.write(f"{stamp} {CALL['request_id']} Task timed out after {seconds:.2f} seconds\n")
    sys.stdout.flush()
    answer(ANSWER_FILE, told)
    os._exit(0)


def call():
    handler, told = load(CALL["handler"])
    if told:
        return told
    context = Context(time.monotonic() + CALL["timeout"])
    limit = threading.Timer(CALL["timeout"], ran_out)
    limit.daemon = True
    limit.start()
    try:
        value = handler(json.loads(CALL["payload"]), context)
    except Exception as error:
        frames = traceback.format_list(traceback.extract_tb(error.__traceback__)[1:])
        return failure(type(error).__name__, str(error), frames)
    finally:
        limit.cancel()
    try:
        return {"response": json.dumps(value)}
    except (TypeError, ValueError) as error:
        return failure("Runtime.MarshalError", f"Unable to marshal response: {error}")


if __name__ == "__main__":
    CALL_FILE, ANSWER_FILE = sys.argv[1:3]
    with open(CALL_FILE, encoding="utf-8") as file:
        CALL = json.load(file)
    # As on AWS: the function's own folder is where modules are looked for first.
    sys.path[0] = CALL["code"]
    told = call()
    if "error" in told:
        log_error(told)
    sys.stdout.flush()
    answer(ANSWER_FILE, told)
    # Threads that the function left behind are frozen on AWS; here they end with the process.
    sys.stderr.flush()
    os._exit(0)
