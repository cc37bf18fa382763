//! An OpenID provider: where it sends people from and to, and whom it says that they are. Code flow with PKCE,
//! as OpenID Connect Core 1.0, section 3.1, and RFC 9700 have it.
//!
//! What is signed is checked by `openidconnect`; what that means for an account is decided by the caller.

use std::{
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use openidconnect::{
    AdditionalClaims, AsyncHttpClient, AuthType, AuthenticationFlow, AuthorizationCode, Client, ClientId,
    ClientSecret, CsrfToken, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet,
    HttpRequest, HttpResponse, IdTokenFields, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RequestTokenError, Scope, StandardErrorResponse, StandardTokenResponse, TokenResponse as _,
    core::{
        CoreAuthDisplay, CoreAuthPrompt, CoreClientAuthMethod, CoreErrorResponseType, CoreGenderClaim,
        CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata,
        CoreResponseType, CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse,
        CoreTokenType,
    },
    http::{self, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_tasks::{
    clients::Clients,
    http::exchange::{ANSWER_BYTES_MAX, Outgoing, Silence, exchange},
    operator::Failure,
};

use super::{account::Roles, sign_in::Errand};
use crate::project::SignIn;

/// How long the provider may take for each answer: somebody waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long what the provider says of itself is believed. Keys are announced longer before they are used.
const KNOWN_FOR: SignedDuration = SignedDuration::from_mins(5);
/// People who are asked about at once: whoever has no account yet can make this server ask.
const ASKED_AT_ONCE: usize = 8;
/// Groups of one person that are looked at.
const GROUPS_MAX: usize = 10_000;
/// Signatures that are believed: by a key that only the provider has. Never none, never one by the client's secret.
const SIGNATURES: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Claims beside those that every provider knows, such as groups.
#[derive(Debug, Deserialize, Serialize)]
struct OtherClaims {
    #[serde(flatten)]
    all: Map<String, Value>,
}

impl AdditionalClaims for OtherClaims {}

type Answer = StandardTokenResponse<
    IdTokenFields<
        OtherClaims,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;

/// This server, as the provider knows it.
type Registered = Client<
    OtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Answer,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It does not answer, or not as a provider does.
    #[error("the provider at {0} cannot be asked: {1}")]
    Unreachable(String, String),
    /// It knows this server under another name or secret, or does not take the code.
    #[error("the provider refused: {0}")]
    Refused(String),
    /// What it said is not what it may say.
    #[error("the provider's statement is not good: {0}")]
    Statement(String),
    /// Nothing that an account could be called by.
    #[error("the provider says nothing in the claim `{0}`, by which accounts are called here")]
    Nameless(String),
    /// Settings of this server.
    #[error("{0}")]
    Settings(String),
}

/// Whom a provider vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider's name for them that never changes.
    pub subject: String,
    /// What people call them.
    pub name: String,
    /// What they may do.
    pub roles: Roles,
}

/// The provider of an environment.
#[derive(Debug)]
pub struct Provider {
    settings: SignIn,
    clients: Clients,
    /// What it says of itself, and when that was asked.
    known: Mutex<Option<(Timestamp, CoreProviderMetadata)>>,
    asking: tokio::sync::Semaphore,
}

impl Provider {
    /// The provider that settings name. Nothing is asked yet.
    pub fn new(settings: SignIn, clients: Clients) -> Self {
        let asking = tokio::sync::Semaphore::new(ASKED_AT_ONCE);
        Self { settings, clients, known: Mutex::default(), asking }
    }

    /// What people call it.
    pub fn label(&self) -> &str {
        &self.settings.label
    }

    /// Its name for itself.
    pub fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// Where a browser goes to be asked who it is, and to come back to `redirect`.
    pub async fn place(
        &self,
        errand: &Errand,
        redirect: &str,
        now: Timestamp,
    ) -> Result<String, ProviderError> {
        let _place = self.asking.acquire().await;
        let client = self.registered(redirect, None, now).await?;
        let verifier = PkceCodeVerifier::new(errand.verifier());
        let (state, nonce) = (errand.state(), errand.nonce());
        let (url, ..) = client
            .authorize_url(
                AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
                || CsrfToken::new(state),
                || Nonce::new(nonce),
            )
            .add_scopes(["profile", "email"].map(|scope| Scope::new(scope.to_owned())))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        Ok(url.into())
    }

    /// Whom the provider vouches for, having sent a browser back with a code.
    pub async fn identity(
        &self,
        errand: &Errand,
        code: &str,
        redirect: &str,
        now: Timestamp,
    ) -> Result<Identity, ProviderError> {
        let _place = self.asking.acquire().await;
        let secret = match &self.settings.client_secret {
            Some(name) => {
                let told = |failure: Failure| ProviderError::Settings(failure.message);
                Some(ClientSecret::new(self.clients.secret(name).await.map_err(told)?.to_string()))
            }
            None => None,
        };
        let client = self.registered(redirect, secret, now).await?;
        let answer = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|error| self.unreachable(&error))?
            .set_pkce_verifier(PkceCodeVerifier::new(errand.verifier()))
            .request_async(&Asker(&self.clients))
            .await
            .map_err(|error| match error {
                RequestTokenError::ServerResponse(refusal) => ProviderError::Refused(refusal.to_string()),
                RequestTokenError::Parse(error, _) => ProviderError::Statement(error.to_string()),
                RequestTokenError::Request(error) => self.unreachable(&error),
                other @ RequestTokenError::Other(_) => self.unreachable(&other),
            })?;
        let token = answer.id_token().ok_or_else(|| {
            ProviderError::Statement("there is no ID token in it; is this an OpenID provider?".to_owned())
        })?;
        let seconds = now.as_second();
        let verifier = client
            .id_token_verifier()
            .set_allowed_algs(SIGNATURES)
            .set_time_fn(move || chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default());
        let claims = token
            .claims(&verifier, &Nonce::new(errand.nonce()))
            .map_err(|error| ProviderError::Statement(causes(&error)))?;
        let claims =
            serde_json::to_value(claims).map_err(|error| ProviderError::Statement(error.to_string()))?;
        self.read(&claims)
    }

    /// Who somebody is, by claims that were checked.
    fn read(&self, claims: &Value) -> Result<Identity, ProviderError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let name_claim = self.settings.name_claim.as_str();
        // An address that nobody looked at could be anybody's.
        let unverified = claims.get("email_verified").and_then(Value::as_bool) == Some(false);
        let name = text(name_claim).filter(|_| !(name_claim == "email" && unverified));
        let name = name.ok_or_else(|| ProviderError::Nameless(name_claim.to_owned()))?.to_lowercase();
        let subject = text("sub").ok_or_else(|| ProviderError::Statement("it names nobody".to_owned()))?;
        let groups: Vec<String> = match claims.get(&self.settings.groups_claim) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(all)) => {
                all.iter().take(GROUPS_MAX).filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        Ok(Identity { subject: subject.to_owned(), name, roles: self.settings.roles_of(&groups) })
    }

    async fn registered(
        &self,
        redirect: &str,
        secret: Option<ClientSecret>,
        now: Timestamp,
    ) -> Result<Registered, ProviderError> {
        let metadata = self.metadata(now).await?;
        // What most providers take, unless this one says that it takes the other only (Discovery 1.0, section 3).
        let methods = metadata.token_endpoint_auth_methods_supported();
        let by_body = methods.is_some_and(|all| !all.contains(&CoreClientAuthMethod::ClientSecretBasic));
        let id = ClientId::new(self.settings.client_id.clone());
        let redirect = RedirectUrl::new(redirect.to_owned()).map_err(|error| self.unreachable(&error))?;
        let client = Client::from_provider_metadata(metadata, id, secret).set_redirect_uri(redirect);
        Ok(if by_body { client.set_auth_type(AuthType::RequestBody) } else { client })
    }

    async fn metadata(&self, now: Timestamp) -> Result<CoreProviderMetadata, ProviderError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, metadata)) = known
            && now.duration_since(at).abs() < KNOWN_FOR
        {
            return Ok(metadata);
        }
        let issuer =
            IssuerUrl::new(self.settings.issuer.clone()).map_err(|error| self.unreachable(&error))?;
        let metadata = CoreProviderMetadata::discover_async(issuer, &Asker(&self.clients))
            .await
            .map_err(|error| self.unreachable(&error))?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, metadata.clone()));
        Ok(metadata)
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> ProviderError {
        ProviderError::Unreachable(self.issuer().to_owned(), causes(error))
    }
}

/// An error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Why the provider did not answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("{0}")]
    Way(String),
    #[error("its answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("its answer is no HTTP: {0}")]
    Form(#[from] http::Error),
}

/// The client that everything else here uses.
struct Asker<'a>(&'a Clients);

impl<'c> AsyncHttpClient<'c> for Asker<'_> {
    type Error = Unanswered;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Unanswered>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(ask(self.0, request))
    }
}

async fn ask(clients: &Clients, request: HttpRequest) -> Result<HttpResponse, Unanswered> {
    let (parts, body) = request.into_parts();
    let text = |value: &http::HeaderValue| Value::from(value.to_str().unwrap_or_default());
    let headers: IndexMap<String, Value> =
        parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let outgoing = Outgoing {
        method: parts.method.as_str(),
        url: &parts.uri.to_string(),
        headers: &headers,
        body: (!body.is_empty()).then_some(&body[..]),
        answer_max: ANSWER_BYTES_MAX,
    };
    let answer = exchange(clients, outgoing, ANSWER_WITHIN).await.map_err(|silence| match silence {
        Silence::NotSent(why) | Silence::Wrong(why) | Silence::Unanswered(why) => Unanswered::Way(why),
        Silence::TooLong(_) => Unanswered::TooLong,
    })?;
    let mut response = Response::builder().status(answer.status);
    if let Some(kind) = answer.header("content-type") {
        response = response.header("content-type", kind);
    }
    Ok(response.body(answer.body)?)
}
