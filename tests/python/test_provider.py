"""Signing in at an OpenID provider: at one that somebody else wrote, and at one that lies."""

import base64
import contextlib
import json
import re
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import oidc_provider_mock
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from browser import CHROMIUM, Reader, chromium
from project import Project
from test_accounts import account, changes
from test_api import Server
from test_pages import http

SECRET = "s3cret-of-the-client-that-is-long-enough-for-hs256"
PROJECT = """
environments:
  local:
    secrets: {{ provider: {{ env: PROVIDER_SECRET }} }}
    sign_in:
      issuer: {issuer}
      client_id: trunkline
      client_secret: provider
      label: Example
      roles:
        data: {{ "": viewer, notes: operator }}
        chiefs: admin
"""
NOTES = "name: notes\ntasks: { print: { type: noop } }\n"


@contextlib.contextmanager
def signing_in_at(issuer, binary, environment, folder):
    """A server whose people sign in at this provider."""
    (folder / "pipelines" / "notes").mkdir(parents=True)
    (folder / "pipelines" / "notes" / "pipeline.yaml").write_text(NOTES)
    (folder / "trunkline.yaml").write_text(PROJECT.format(issuer=issuer))
    project = Project(binary, environment | {"PROVIDER_SECRET": SECRET}, folder)
    project.call("deploy")
    server = Server(project, "--bind", "127.0.0.1:0")
    try:
        yield server, project
    finally:
        server.kill()
        project.stop()


def cookies(headers):
    """What a browser keeps of an answer."""
    pairs = (text.split(";")[0].partition("=")[::2] for text in headers.get_all("set-cookie") or [])
    return {name: value for name, value in pairs if value}


def sent(kept):
    return "; ".join(f"{name}={value}" for name, value in kept.items())


def begun(server, to="/runs"):
    """Where the browser is sent, and the cookie that it keeps until it comes back."""
    status, headers, text = http(f"{server.url}/sign-in/provider?to={urllib.parse.quote(to, safe='')}")
    assert status == 303, text
    return headers["location"], cookies(headers)


def come_back(server, kept, **query):
    """The page, or the cookies of whoever is signed in."""
    status, headers, text = http(f"{server.url}/sign-in/return?{urllib.parse.urlencode(query)}", cookie=sent(kept))
    assert any(line.startswith("trunkline-") and "errand=;" in line and "Max-Age=0" in line for line in headers.get_all("set-cookie")), headers
    return status, (headers["location"], cookies(headers)) if status == 303 else text


@pytest.fixture(scope="module")
def provider():
    with oidc_provider_mock.run_server_in_thread() as running:
        yield f"http://localhost:{running.server_port}"


@pytest.fixture(scope="module")
def place(provider, binary, environment, tmp_path_factory):
    with signing_in_at(provider, binary, environment, tmp_path_factory.mktemp("provider")) as (server, project):
        yield server, project


def known(provider, subject, **claims):
    request = urllib.request.Request(
        f"{provider}/users/{subject}", json.dumps(claims).encode(), {"content-type": "application/json"}, method="PUT")
    assert urllib.request.urlopen(request, timeout=60).status == 204


def signed_in(provider, server, subject, to="/runs"):
    """Goes the whole way as a browser does; what came of it, and the provider's answer, to send it twice."""
    there, kept = begun(server, to)
    status, headers, text = http(there, "POST", f"sub={subject}".encode(), content_type="application/x-www-form-urlencoded")
    assert status == 302, text
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(headers["location"]).query))
    assert headers["location"].startswith(f"{server.url}/sign-in/return?")
    return come_back(server, kept, **query), (kept, query)


def test_whoever_the_provider_vouches_for_is_signed_in_with_the_roles_of_their_groups(provider, place):
    server, project = place
    known(provider, "sub-ana", preferred_username="Ana@example.com", groups=["data", "others"])
    (status, (to, kept)), again = signed_in(provider, server, "sub-ana", to="/pipelines?state=failed")
    assert (status, to) == (303, "/pipelines?state=failed")
    status, _, page = http(f"{server.url}/me", cookie=sent(kept))
    assert status == 200 and "account:ana@example.com" in page and "viewer, operator of notes" in page
    assert "You sign in at a provider" in page and "Present password" not in page

    # What the provider gave is good once.
    status, text = come_back(server, *again[:1], **again[1])
    assert status == 401 and "the provider refused" in text

    # Groups count anew at each sign-in, also for those who are signed in.
    known(provider, "sub-ana", preferred_username="somebody-else", groups=["chiefs"])
    (status, (_, other)), _ = signed_in(provider, server, "sub-ana")
    for cookie in (kept, other):
        _, _, page = http(f"{server.url}/me", cookie=sent(cookie))
        assert "account:ana@example.com" in page and "You are admin." in page, "the account stays, whatever they are called now"
    rows = json.loads(project.call("account", "list", "--json").stdout)
    assert [(row["account"], row["provider"], row["roles"]) for row in rows] == [("ana@example.com", provider, {"": "admin"})]
    audit = server.get("/audit?limit=200")["items"]
    told = [(row["actor"], row["action"]) for row in audit if row["object"] == "ana@example.com"]
    assert sorted(told) == [(f"provider:{provider}", "account.change"), (f"provider:{provider}", "account.create")]

    # Its roles follow from its groups; it has no password; it can be shut.
    for body in ({"roles": {"": "viewer"}}, {"reset_password": True}):
        refusal = server.post("/accounts/ana%40example.com", body, 409)
        assert "which says what they may do" in refusal["detail"]
    assert "which says what they may do" in project.call("account", "roles", "ana@example.com", "viewer", code=2).stderr
    headers = changes(server, sent(other))
    status, _, text = http(f"{server.url}/api/v1/me/password", "POST", {"old": "x", "new": "a-long-new-password"}, **headers)
    assert status == 409 and "it signs in at a provider" in text
    server.post("/accounts/ana%40example.com", {"disabled": True})
    status, _, _ = http(f"{server.url}/me", cookie=sent(other))
    assert status == 303, "signed out"
    (status, text), _ = signed_in(provider, server, "sub-ana")
    assert status == 401 and "This account is shut" in text


def test_nobody_gets_in_by_being_known_elsewhere(provider, place):
    server, project = place
    known(provider, "sub-bob", preferred_username="bob", groups=["others"])
    (status, text), _ = signed_in(provider, server, "sub-bob")
    assert status == 401 and "none of your groups may do anything here" in text
    # A name that another account has is not theirs.
    account(project, "carol", "admin")
    known(provider, "sub-carol", preferred_username="carol", groups=["data"])
    (status, text), _ = signed_in(provider, server, "sub-carol")
    assert status == 401 and "called carol already" in text
    known(provider, "sub-evil", preferred_username="<script>x</script>", groups=["chiefs"])
    (status, text), _ = signed_in(provider, server, "sub-evil")
    assert status == 401 and "&lt;script&gt;" in text and "<script>x" not in text
    names = [row["account"] for row in json.loads(project.call("account", "list", "--json").stdout)]
    assert "bob" not in names and not [name for name in names if "script" in name]


def test_a_browser_comes_back_with_its_own_errand_only(provider, place):
    server, _ = place
    known(provider, "sub-dan", preferred_username="dan", groups=["chiefs"])
    _, (kept, query) = signed_in(provider, server, "sub-dan")
    _, others = begun(server)
    for cookie, asked in (({}, query), (others, query), (kept, query | {"state": "00"}), (kept, {"code": query["code"]}), ({name: "zz.zz" for name in kept}, query)):
        status, text = come_back(server, cookie, **asked)
        assert status == 401 and "This browser began no such sign-in" in text
    _, mine = begun(server)
    there, mine = begun(server)
    state = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(there).query))["state"]
    status, text = come_back(server, mine, error="access_denied", error_description="<b>not today</b>", state=state)
    assert status == 401 and "Example did not sign you in: &lt;b&gt;not today" in text
    # Where somebody wanted to go is a path of this server, or the beginning.
    (_, (to, _)), _ = signed_in(provider, server, "sub-dan", to="//evil.example.com")
    assert to == "/"
    # What goes over the provider: a challenge, never what answers it.
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(there).query))
    assert asked["code_challenge_method"] == "S256" and set(asked["scope"].split()) == {"openid", "profile", "email"}
    secret = next(iter(mine.values())).split(".")[0]
    assert secret not in there and len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_real_browser_goes_there_and_back(provider, place):
    server, project = place
    known(provider, "sub-eva", preferred_username="eva", groups=["data"])
    with chromium() as browser:
        reader = Reader(browser, project)
        page = reader.page
        page.goto(f"{server.url}/pipelines/notes")
        reader.shot("sign-in-provider")
        reader.assert_accessible()
        page.get_by_role("link", name="Sign in with Example").click()
        page.locator("[name=sub]").first.fill("sub-eva")
        page.get_by_role("button", name=re.compile("Authorize", re.I)).first.click()
        page.wait_for_url(f"{server.url}/pipelines/notes")
        assert page.get_by_role("heading", name="notes").first.is_visible()


class Liar(BaseHTTPRequestHandler):
    """A provider that gives out what it is told to."""

    def do_GET(self):
        at = self.server.address
        if self.path == "/.well-known/openid-configuration":
            self.say({
                "issuer": at, "authorization_endpoint": f"{at}/authorize", "token_endpoint": f"{at}/token", "jwks_uri": f"{at}/keys",
                "response_types_supported": ["code"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
            })
        else:
            self.say({"keys": [self.server.key.as_dict(private=False) | {"use": "sig"}]})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.asked.append(dict(urllib.parse.parse_qsl(body)))
        self.say(self.server.answer)

    def say(self, answer):
        body = json.dumps(answer).encode()
        self.send_response(200 if "error" not in answer else 400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def liar():
    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        server.address = f"http://127.0.0.1:{server.server_port}"
        server.key, server.asked, server.answer = RSAKey.generate_key(2048, {"kid": "one"}), [], {}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def misled(liar, binary, environment, tmp_path_factory):
    with signing_in_at(liar.address, binary, environment, tmp_path_factory.mktemp("liar")) as (server, _):
        yield server


def unsigned(claims):
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    return f"{part({'alg': 'none'})}.{part(claims)}."


LIES = {
    "another provider": {"iss": "https://login.example.com"},
    "for somebody else's server": {"aud": "another"},
    "for two, and who for is not said": {"aud": ["trunkline", "another"]},
    "of another sign-in": {"nonce": "00"},
    "no nonce": {"nonce": None},
    "too old": {"exp": 1_700_000_000, "iat": 1_699_999_000},
    "of nobody": {"sub": None},
    "signed by another key": {},
    "signed with the client's secret": {},
    "not signed": {},
    "signed, and changed afterwards": {},
    "no statement at all": {},
}


@pytest.mark.parametrize("lie", ["none", *LIES])
def test_a_statement_that_is_not_good_signs_nobody_in(liar, misled, lie):
    there, kept = begun(misled)
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(there).query))
    now = int(time.time())
    claims = {"iss": liar.address, "aud": "trunkline", "sub": "1", "nonce": asked["nonce"], "iat": now, "exp": now + 300,
              "preferred_username": "mallory", "groups": ["chiefs"]} | LIES.get(lie, {})
    claims = {name: value for name, value in claims.items() if value is not None}
    token = jwt.encode({"alg": "RS256", "kid": "one"}, claims, liar.key)
    if lie == "signed by another key":
        token = jwt.encode({"alg": "RS256", "kid": "one"}, claims, RSAKey.generate_key(2048))
    elif lie == "signed with the client's secret":
        token = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET))
    elif lie == "not signed":
        token = unsigned(claims)
    elif lie == "signed, and changed afterwards":
        head, _, signature = token.split(".")
        token = f"{head}.{unsigned(claims | {'sub': '2'}).split('.')[1]}.{signature}"
    liar.answer = {"access_token": "x", "token_type": "Bearer"} | ({} if lie == "no statement at all" else {"id_token": token})
    status, answer = come_back(misled, kept, code="a-code", state=asked["state"])
    if lie == "none":
        assert status == 303 and answer[0] == "/runs"
        said = liar.asked[-1]
        assert (said["code"], said["client_id"], said["client_secret"]) == ("a-code", "trunkline", SECRET)
        assert 43 <= len(said["code_verifier"]) <= 128
    else:
        assert status == 401 and "statement is not good" in answer, answer
    # Neither the statement nor the secret is ever shown or logged.
    assert token not in misled.log.read_text() and SECRET not in misled.log.read_text()


def test_a_provider_that_is_away_or_angry_is_said_to_be(liar, misled, binary, environment, tmp_path):
    there, kept = begun(misled)
    state = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(there).query))["state"]
    liar.answer = {"error": "invalid_client", "error_description": "who are you?"}
    status, text = come_back(misled, kept, code="x", state=state)
    assert status == 401 and "the provider refused" in text and "who are you?" in text
    with signing_in_at("http://127.0.0.1:9", binary, environment, tmp_path) as (server, _):
        status, _, text = http(f"{server.url}/sign-in/provider")
        assert status == 502 and "cannot be asked" in text


def test_settings_are_checked_where_they_stand(binary, environment, tmp_path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "trunkline.yaml").write_text("""
environments:
  local:
    sign_in:
      issuer: http://login.example.com
      client_id: trunkline
      client_secret: hunter2-hunter2
      roles: { data: { finance: admin }, others: boss }
""")
    told = Project(binary, environment, tmp_path).call("validate", code=2).stderr
    for wanted in ("no address of a provider", "names a secret of this environment", "an admin is one everywhere", "`boss` is no role"):
        assert wanted in told
