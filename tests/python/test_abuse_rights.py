"""Everybody at every door: each operation and page with each way to show, or not to show, who one is; and what the
program answers to names that are not its own."""

import pathlib
import re
import urllib.parse

import pytest

from attacked import attacked
from described import operations
from wire import ask, begun, head, spoken

API = pathlib.Path(__file__).resolve().parents[2] / "orchestrator" / "src" / "api"

# The least first; whoever may the later ones may the earlier ones.
SCOPES = ["read", "operate", "deploy", "admin"]
# By hand, so that a document that says something else lets nobody in.
NEEDS = {
    "operate": {
        "POST /pipelines/{pipeline}/runs", "POST /pipelines/{pipeline}/pause", "POST /pipelines/{pipeline}/resume",
        "POST /pipelines/{pipeline}/backfills", "POST /backfills/{backfill}/cancel", "POST /runs/clear", "POST /runs/mark",
        "POST /runs/{run}/clear", "POST /runs/{run}/mark", "POST /runs/{run}/cancel", "POST /runs/{run}/pause",
        "POST /runs/{run}/resume", "POST /runs/{run}/tasks/{task}/retry-now", "POST /runs/{run}/tasks/{task}/resolve",
        "POST /runs/{run}/tasks/{task}/approve", "POST /runs/{run}/tasks/{task}/reject",
    },
    "deploy": {"POST /deployments", "POST /deployments/rollback"},
    "admin": {
        "GET /accounts", "POST /accounts", "POST /accounts/{account}", "GET /tokens", "POST /tokens", "POST /tokens/{token}/revoke",
    },
}
# What is asked with a body and changes nothing, or only what is of whoever asks.
LOOKS = {"POST /pipelines/{pipeline}/plan", "POST /me/password"}
# Pages, and what the browser's token must be good for.
PAGES = {
    "/": "read", "/pipelines": "read", "/pipelines/{pipeline}": "read", "/pipelines/{pipeline}/graph": "read",
    "/pipelines/{pipeline}/source": "read", "/pipelines/{pipeline}/schedule": "read",
    "/pipelines/{pipeline}/start": "operate", "/pipelines/{pipeline}/backfill": "operate", "/backfills": "read",
    "/backfills/{backfill}": "read", "/triggers": "read", "/pools": "read", "/mails": "read", "/mails/{mail}": "read",
    "/audit": "read", "/deployments": "read", "/me": "read", "/accounts": "admin", "/runs": "read", "/runs/{run}": "read",
    "/runs/{run}/timeline": "read", "/runs/{run}/history": "read", "/runs/{run}/tasks/{task}": "read",
}
# Where nobody is led who signs in here: this server has no provider (test_provider.py has one).
PROVIDER = {"/sign-in/provider", "/sign-in/return"}
# What is there for everybody, and what is neither operation nor page.
OPEN = {"/healthz", "/readyz", "/sign-in", "/assets/{version}/{name}", "{PREFIX}/openapi.json"}
OTHERS = {"/metrics", "/sign-out", *PROVIDER}
# Who asks: the scope of what they show; none where it is good for nothing.
VISITORS = {
    "nobody": None, "garbage": None, "another scheme": None, "unknown": None, "revoked": None, "expired": None,
    "a cookie of nobody": None, "a cookie of a revoked token": None, "a bad token beside a good cookie": None,
    **{scope: scope for scope in SCOPES},
    **{f"a page, {scope}": scope for scope in SCOPES},
    **{f"a cookie alone, {scope}": scope for scope in SCOPES},
}
UNKNOWN = "trunkline_0123456789abcdef_" + 64 * "0"


@pytest.fixture(scope="module")
def target(binary, environment, tmp_path_factory):
    with attacked(binary, environment, tmp_path_factory.mktemp("rights")) as found:
        yield found


@pytest.fixture(scope="module")
def visitors(target):
    """The headers of each."""
    def bearer(token):
        return {"Authorization": f"Bearer {token}"}

    tokens = {scope: target.token(scope, scope) for scope in SCOPES}
    ended = {how: target.token(how, SCOPES[-1]) for how in ("revoked", "expired")}
    cookies = {scope: target.signed_in(token) for scope, token in tokens.items()}
    lost = target.signed_in(ended["revoked"])
    target.project.call("token", "revoke", "revoked")
    target.project.psql("update api_token set expires_at = clock_timestamp() where name = 'expired'")
    name = lost.partition("=")[0]
    found = {
        "nobody": {}, "garbage": bearer("nonsense"), "another scheme": {"Authorization": f"Basic {tokens[SCOPES[-1]]}"},
        "unknown": bearer(UNKNOWN), "revoked": bearer(ended["revoked"]), "expired": bearer(ended["expired"]),
        "a cookie of nobody": {"Cookie": f"{name}={80 * '0'}"}, "a cookie of a revoked token": {"Cookie": lost},
        "a bad token beside a good cookie": bearer(UNKNOWN) | {"Cookie": cookies[SCOPES[-1]]},
    }
    for scope in SCOPES:
        page = ask(target.address, "GET", "/pipelines", {"Cookie": cookies[scope]}).text
        change = re.search(r'name="change" content="(\w+)"', page).group(1)
        found[scope] = bearer(tokens[scope])
        found[f"a cookie alone, {scope}"] = {"Cookie": cookies[scope], "Sec-Fetch-Site": "same-origin"}
        found[f"a page, {scope}"] = found[f"a cookie alone, {scope}"] | {"trunkline-change": change}
    return found


def needed(name):
    return next((scope for scope, names in NEEDS.items() if name in names), "read")


def covers(scope, wanted):
    return SCOPES.index(scope) >= SCOPES.index(wanted)


def expected(visitor, operation):
    """The refusal that is due; none where it is let in."""
    scope = VISITORS[visitor]
    if scope is None:
        return 401
    forged = visitor.startswith("a cookie alone") and operation.method != "GET"
    return None if covers(scope, needed(operation.name)) and not forged else 403


def everything(target):
    """What there is, as the owner sees it."""
    lists = ("pipelines", "runs", "backfills", "deployments", "pipelines/daily/versions", "runs/daily@2026-10-01/history")
    return [target.ask("GET", f"/api/v1/{name}").json() for name in lists]


def test_the_document_asks_for_the_rights_that_were_decided(target):
    found = {operation.name: operation.scope for operation in operations(target.address)}
    changing = {name for name in found if not name.startswith("GET ")}
    assert {name for name in set().union(*NEEDS.values()) | LOOKS if not name.startswith("GET ")} == changing
    assert {name: scope for name, scope in found.items() if scope != needed(name)} == {}


@pytest.mark.parametrize("visitor", VISITORS)
def test_every_operation_knows_who_asks(target, visitors, visitor):
    before, headers = everything(target), visitors[visitor]
    for operation in operations(target.address):
        where, refusal = operation.target(target.names), expected(visitor, operation)
        if refusal is None and operation.streams:
            data = head(operation.method, where, [("Host", "127.0.0.1"), *headers.items()])
            assert begun(target.address, data).status == 200, operation.name
        elif refusal is None:
            answer = ask(target.address, operation.method, where, headers, operation.fitting_body())
            assert answer.status in (200, 404, 409, 422), (operation.name, answer.text)
        else:
            # Whoever is refused asks for the deed itself, and learns nothing: neither what exists nor what is wrong.
            nowhere = operation.target(dict.fromkeys(target.names, "ffffffff-ffff-ffff-ffff-ffffffffffff"), {"colour": "red"})
            deed = (operation.fitting_body() | {"dry_run": False}) if operation.body else None
            for asked, more, body in ((where, {}, deed), (nowhere, {"Content-Type": "text/plain"}, b"{")):
                answer = ask(target.address, operation.method, asked, headers | more, body)
                assert answer.status == refusal, (operation.name, asked, answer.status, answer.text)
                assert answer.header("content-type") == "application/problem+json"
    assert everything(target) == before, "somebody who may not has changed something"


def test_every_route_of_the_program_is_known_here(target):
    """Whoever adds a route in the program's source decides here who may use it."""
    text = "".join(path.read_text().split("#[cfg(test)]")[0] for path in API.rglob("*.rs"))
    documented = {operation.path.removeprefix("/api/v1") for operation in operations(target.address)}
    assert set(re.findall(r'\b(?:outline|operate|admin)\(\s*(?:Scope::\w+,\s*)?"(/[^"]*)"', text)) == documented
    assert set(re.findall(r'\bpage\(\s*router,\s*"([^"]+)"', text)) == set(PAGES)
    routed = re.findall(r"\.route\(\s*((?!MethodFilter)[^\n]*?),", text)
    # The operations' own, the pages' own, and the document's.
    general = {'&format!("{PREFIX}{}"', "path", '&format!("{}/openapi.json"'}
    assert {name.strip('"') for name in routed if name not in general} == (OPEN | OTHERS) - {"{PREFIX}/openapi.json"}
    assert general <= set(routed) and not re.search(r"\.(nest|route_service|nest_service|fallback_service)\(", text)


@pytest.mark.parametrize("visitor", VISITORS)
def test_every_page_knows_who_asks(target, visitors, visitor):
    scope = VISITORS[visitor]
    # Pages are for browsers: a token in a header opens none.
    cookie = "Cookie" in visitors[visitor] and ("Authorization" in visitors[visitor] or scope is not None)
    for page, wanted in PAGES.items():
        where = re.sub(r"\{(\w+)\}", lambda found: str(target.names[found.group(1)]), page)
        answer = ask(target.address, "GET", where, visitors[visitor])
        if not cookie:
            assert (answer.status, answer.body) == (303, b"") and answer.header("location").startswith("/sign-in"), page
        elif scope is not None and not covers(scope, wanted):
            assert answer.status == 403, page
        else:
            assert answer.status == 200 and "data-sign-out" in answer.text, (page, answer.text)
    metrics = ask(target.address, "GET", "/metrics", visitors[visitor])
    assert metrics.status == (401 if scope is None else 200)


def test_what_everybody_may_see_says_nothing_of_the_project(target):
    told = []
    for path in sorted(OPEN):
        path = path.replace("{PREFIX}", "/api/v1").replace("{version}", "x").replace("{name}", "page.js")
        answer = ask(target.address, "GET", path)
        assert answer.status == 200, path
        told.append(answer.text)
    for path in sorted(PROVIDER):
        answer = ask(target.address, "GET", path)
        assert answer.status == 404, path
        told.append(answer.text)
    # Names of pipelines, the folder, tokens: nothing that is this project's alone.
    for word in (str(target.project.folder), target.server.token, target.names["backfill"], "by_hand"):
        assert not [text for text in told if word in text], word


def test_a_refusal_cannot_be_talked_round(target, visitors):
    """Other spellings of an address, of a method, of who one is."""
    pause, local = "/api/v1/pipelines/daily/pause", {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1"}
    for headers in (visitors["nobody"] | local, visitors["unknown"] | {"X-Original-URL": "/healthz", "X-Rewrite-URL": "/healthz"},
                    {"Authorization": target.server.token}, {"Authorization": "Bearer"},
                    {"Proxy-Authorization": f"Bearer {target.server.token}"}):
        assert ask(target.address, "POST", pause, headers, {"dry_run": True}).status == 401, headers
    for address in ("/api/v1//pipelines", "/api/v1/pipelines/", "/API/V1/pipelines", "/api/v1/./pipelines", "/healthz/../api/v1/pipelines",
                    "/assets/../api/v1/pipelines", "/api/v1/pipelines;x=/healthz", "/api/v1/%70ipelines", "/api/v1/pipelines%2f",
                    "//api/v1/pipelines"):
        assert ask(target.address, "GET", address).status in (401, 404), address
        assert ask(target.address, "GET", address, visitors["read"]).status == 404, address
    for name in ("token=", "access_token=", "authorization=Bearer+"):
        query = f"?{name}{target.server.token}"
        assert ask(target.address, "GET", f"/api/v1/pipelines{query}").status == 401, query
        assert ask(target.address, "GET", f"/sign-in{query}").header("set-cookie") is None
    # A question stays a question, whatever its headers call it; and HEAD is asked for its rights too.
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        assert ask(target.address, "GET", pause, visitors["deploy"] | {name: "POST"}).status == 405
    assert ask(target.address, "HEAD", "/api/v1/pipelines").status == 401
    assert ask(target.address, "HEAD", "/api/v1/pipelines", visitors["read"]).status == 200
    # The first of two tokens counts or none does, never the better one.
    two = [("Host", "127.0.0.1"), ("Authorization", f"Bearer {UNKNOWN}"), *visitors["deploy"].items(), ("Connection", "close")]
    assert [answer.status for answer in spoken(target.address, head("GET", "/api/v1/pipelines", two))] == [401]
    assert target.ask("GET", "/api/v1/pipelines/daily").json()["paused"] is False


# --- Other names -----------------------------------------------------------------------------------------------

NAMES = [
    "evil.example.com", "evil.example.com:{port}", "127.0.0.1.evil.example.com", "localhost.evil.example.com:{port}", "localhost.",
    "x.localhost", "localhost@evil.example.com", "127.0.0.1@evil.example.com", "127.0.0.1, evil.example.com", "127.0.0.1/evil.example.com",
    "[::1].evil.example.com", "127.1", "0x7f000001", "evil.example.com#127.0.0.1", "localhost:{port}:{port}", "\xe5vil.example.com",
]
KINDS = [
    "/api/v1/pipelines", "/api/v1/openapi.json", "/api/v1/events", "/", "/pipelines/daily", "/sign-in", "/assets/x/page.js", "/metrics",
    "/healthz", "/readyz", "/nothing",
]


@pytest.mark.parametrize("kind", KINDS)
def test_another_name_gets_nothing(target, visitors, kind):
    """What a page of another site reaches, whose name was made to lead here, with whatever its browser would send."""
    name_of = [name.format(port=target.address[1]) for name in NAMES]
    for headers in (visitors["nobody"], visitors["deploy"], visitors["a page, deploy"]):
        for name in name_of:
            for more in ({}, {"X-Forwarded-Host": "127.0.0.1", "Forwarded": "host=127.0.0.1"}):
                answer = ask(target.address, "GET", kind, headers | more | {"Host": name})
                assert answer.status in (400, 421), (kind, name, answer.status)
                assert answer.header("set-cookie") is None and "daily" not in answer.text
    assert ask(target.address, "POST", "/sign-in", {"Host": "evil.example.com"}, b"token=x").status == 421
    for name in ("localhost", "LOCALHOST:1", "[::1]:8377", "127.0.0.1"):
        asked = head("GET", kind, [("Host", name), *visitors["deploy"].items()])
        assert begun(target.address, asked).status in (200, 303, 404), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_in_the_request_line_counts_as_well(target, kind):
    """As a request to a proxy is written: the name stands there, whatever the Host header says."""
    for host in ("127.0.0.1", "evil.example.com"):
        asked = head("GET", f"http://evil.example.com{kind}", [("Host", host), *target.owner.items()])
        assert begun(target.address, asked).status in (400, 421), host


@pytest.mark.parametrize("hosts", [("127.0.0.1", "evil.example.com"), ("evil.example.com", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ()])
def test_a_request_has_one_name(target, hosts):
    headers = [*(("Host", host) for host in hosts), *target.owner.items(), ("Connection", "close")]
    assert [answer.status in (400, 421) for answer in spoken(target.address, head("GET", "/healthz", headers))] == [True]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.3"])
def test_no_connection_becomes_something_else(target, kind, protocol):
    headers = target.owner | {"Host": "127.0.0.1", "Connection": "Upgrade, HTTP2-Settings", "Upgrade": protocol,
                              "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "HTTP2-Settings": "AAMAAABkAAQ"}
    answer = begun(target.address, head("GET", kind, headers.items()))
    assert answer.status in (200, 303, 404) and answer.header("upgrade") is None and answer.header("sec-websocket-accept") is None


# --- Other places ----------------------------------------------------------------------------------------------

ELSEWHERE = [
    "//evil.example.com", "///evil.example.com", "https://evil.example.com", "https:evil.example.com", "\\\\evil.example.com",
    "/\\evil.example.com", "/\\/evil.example.com", "\\/evil.example.com", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x",
    "/\t/evil.example.com", "/\n/evil.example.com", "\t//evil.example.com", " //evil.example.com", "/\r\nSet-Cookie: a=b",
    "/%0d%0aset-cookie:a=b", "evil.example.com", "?//evil.example.com", "/x//\x00", "/" + "a" * 5_000, "/ü", ".evil.example.com",
]


@pytest.mark.parametrize("to", ELSEWHERE)
def test_signing_in_leads_nowhere_else(target, visitors, to):
    body = urllib.parse.urlencode({"token": visitors["read"]["Authorization"].split()[1], "to": to}).encode()
    answer = ask(target.address, "POST", "/sign-in", {"Content-Type": "application/x-www-form-urlencoded"}, body)
    link = target.project.call("open", "--print").stdout.strip() + "&" + urllib.parse.urlencode({"to": to})
    opened = ask(target.address, "GET", link.removeprefix(target.server.url))
    form = ask(target.address, "GET", "/sign-in?" + urllib.parse.urlencode({"to": to}))
    places = [re.search(r'name="to" value="([^"]*)"', form.text).group(1)]
    for entered in (answer, opened):
        assert entered.status == 303 and len([1 for name, _ in entered.headers if name == "set-cookie"]) == 1
        places.append(entered.header("location"))
    for place in places:
        # As browsers read it: without tabs and line breaks, with one kind of slash.
        seen = re.sub(r"[\t\r\n]", "", place.strip()).replace("\\", "/")
        assert seen.startswith("/") and not seen.startswith("//"), place
        assert urllib.parse.urlsplit(urllib.parse.urljoin(target.server.url, seen)).netloc == f"127.0.0.1:{target.address[1]}"


UP = [
    "/assets/../../../../../../etc/passwd", "/assets/x/../../../../../../etc/passwd", "/assets/x/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/assets/x/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/assets/%2e%2e/%2e%2e/etc/passwd", "/assets/x/..%5c..%5c..%5cetc%5cpasswd",
    "/assets/..\\..\\etc\\passwd", "/assets/x/%252e%252e%252fetc%252fpasswd", "/assets/x/....//....//etc/passwd",
    "/assets/x/%c0%ae%c0%ae%c0%afetc%c0%afpasswd", "/assets/x//etc/passwd", "/assets/x/%2fetc%2fpasswd", "/assets/x/page.js%00.css",
    "/assets/x/page.js/../../../etc/passwd", "/assets/x/file:%2f%2f%2fetc%2fpasswd", "/assets/x/.trunkline%2fapi-token",
    "/assets/x/..%2f.trunkline%2fapi-token", "/../../../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "//etc/passwd", "/.trunkline/api-token",
    "/trunkline.yaml", "/assets/", "/assets", "/assets/x", "/assets/x/", "/assets/x/page.js/", "/assets/x/PAGE.JS",
]


@pytest.mark.parametrize("path", UP)
def test_no_address_leads_to_the_disk(target, path):
    answers = spoken(target.address, head("GET", path, [("Host", "127.0.0.1"), ("Connection", "close"), *target.owner.items()]))
    assert [answer.status in (400, 404) for answer in answers] == [True], answers
    assert "root:" not in answers[0].text and target.server.token not in answers[0].text


def test_an_address_that_is_no_text_is_a_problem_everywhere(target):
    """Bytes that are no UTF-8: the refusal has the form of every other one."""
    paths = {re.sub(r"\{\w+\}", "%ff", operation.path) for operation in operations(target.address) if "{" in operation.path}
    for path in sorted(paths | {"/assets/x/%ff", "/%ff"}):
        answer = target.ask("GET", path)
        assert answer.status in (400, 404, 405), (path, answer.status)
        assert not answer.body or answer.header("content-type") == "application/problem+json", (path, answer.text)
