//! How a browser comes to be signed in: what its cookie holds, the token that its pages send with every
//! change, the link that opens the pages on the machine of the project's folder, and the way to a provider and
//! back.
//!
//! Pure: the caller draws, and knows what time it is. What is stored is a hash.

use std::fmt;

use hmac::{Hmac, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::token::Token;

/// How long a link is good: long enough to copy it into a browser of another machine through a tunnel.
const LINK_AGE: SignedDuration = SignedDuration::from_mins(10);
/// Bytes of what a cookie holds.
const SECRET_BYTES: usize = 40;
/// Bytes of what makes a link one of its own.
const NONCE_BYTES: usize = 16;

/// What a browser's cookie holds. Shows nothing of it in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionSecret([u8; SECRET_BYTES]);

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionSecret").finish_non_exhaustive()
    }
}

impl SessionSecret {
    /// Of bytes that were just drawn.
    pub fn of(drawn: [u8; SECRET_BYTES]) -> Self {
        Self(drawn)
    }

    /// Reads a cookie; `None` where it cannot be one of ours.
    pub fn read(text: &str) -> Option<Self> {
        let mut bytes = [0; SECRET_BYTES];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The cookie's value.
    pub fn reveal(&self) -> String {
        hex::encode(self.0)
    }

    /// What is stored instead. The secret has more than 256 random bits: no salt and no slow hash are needed.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// What a page of this session sends with each change, so that no other page can: it cannot be read from
    /// elsewhere, and a cookie alone does not carry it.
    pub fn change_token(&self) -> String {
        hex::encode(signed(&self.0, b"change", &[]))
    }

    /// Whether a page sent that token.
    pub fn is_change_token(&self, sent: &str) -> bool {
        self.change_token().as_bytes().ct_eq(sent.as_bytes()).into()
    }
}

/// A link that signs in whoever opens it first, made with the token of the project's folder by whoever can
/// read it. `<until>.<nonce>.<signature>`, so that the token itself stands in no address bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInLink {
    until: i64,
    nonce: [u8; NONCE_BYTES],
}

impl SignInLink {
    /// A link from now on, of bytes that were just drawn.
    pub fn new(now: Timestamp, drawn: [u8; SECRET_BYTES]) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&drawn[..NONCE_BYTES]);
        Self { until: now.as_second().saturating_add(LINK_AGE.as_secs()), nonce }
    }

    /// The text in the link.
    pub fn text(&self, token: &Token) -> String {
        let said = format!("{}.{}", self.until, hex::encode(self.nonce));
        let signature = hex::encode(signed(token.reveal().as_bytes(), b"link", said.as_bytes()));
        format!("{said}.{signature}")
    }

    /// Reads a text; `None` where it was not made with this token, or too long ago.
    pub fn read(text: &str, token: &Token, now: Timestamp) -> Option<Self> {
        let mut parts = text.split('.');
        let (until, nonce) = (parts.next()?.parse().ok()?, parts.next()?);
        let mut bytes = [0; NONCE_BYTES];
        hex::decode_to_slice(nonce, &mut bytes).ok()?;
        let link = Self { until, nonce: bytes };
        let made: bool = link.text(token).as_bytes().ct_eq(text.as_bytes()).into();
        let lives = (now.as_second()..=now.as_second().saturating_add(LINK_AGE.as_secs())).contains(&until);
        (made && lives).then_some(link)
    }

    /// Until when it is good, in seconds since 1970, and what is its own: it may be used once.
    pub fn once(&self) -> (i64, [u8; NONCE_BYTES]) {
        (self.until, self.nonce)
    }
}

/// A signature for one purpose.
/// A sign-in at a provider that a browser began: what its cookie holds, until it comes back. Everything that must be
/// drawn follows from one secret, and no server has to remember it.
#[derive(Clone, PartialEq, Eq)]
pub struct Errand {
    secret: [u8; SECRET_BYTES],
    /// Where it wanted to go.
    pub back: String,
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand").field("back", &self.back).finish_non_exhaustive()
    }
}

impl Errand {
    /// Of bytes that were just drawn.
    pub fn new(drawn: [u8; SECRET_BYTES], back: &str) -> Self {
        Self { secret: drawn, back: back.to_owned() }
    }

    /// Reads a cookie; `None` where it cannot be one of ours.
    pub fn read(text: &str) -> Option<Self> {
        let (secret, back) = text.split_once('.')?;
        let mut bytes = [0; SECRET_BYTES];
        hex::decode_to_slice(secret, &mut bytes).ok()?;
        Some(Self { secret: bytes, back: String::from_utf8(hex::decode(back).ok()?).ok()? })
    }

    /// The cookie's value.
    pub fn reveal(&self) -> String {
        format!("{}.{}", hex::encode(self.secret), hex::encode(&self.back))
    }

    /// What the provider sends back with the browser: nobody else can have it come here (RFC 6749, section 10.12).
    pub fn state(&self) -> String {
        hex::encode(signed(&self.secret, b"state", &[]))
    }

    /// Whether a browser came back with it.
    pub fn is_state(&self, sent: &str) -> bool {
        self.state().as_bytes().ct_eq(sent.as_bytes()).into()
    }

    /// What the provider signs: a statement that was made for somebody else has another one.
    pub fn nonce(&self) -> String {
        hex::encode(signed(&self.secret, b"nonce", &[]))
    }

    /// What whoever shows the code must know (RFC 7636).
    pub fn verifier(&self) -> String {
        hex::encode(signed(&self.secret, b"verifier", &[]))
    }
}

fn signed(key: &[u8], purpose: &[u8], said: &[u8]) -> [u8; 32] {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(purpose);
    mac.update(b":");
    mac.update(said);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errand_comes_back_as_it_left() {
        let errand = Errand::new([7; SECRET_BYTES], "/runs?state=failed");
        assert_eq!(Errand::read(&errand.reveal()), Some(errand.clone()));
        assert!(
            errand.is_state(&errand.state()) && !errand.is_state(&errand.nonce()) && !errand.is_state("")
        );
        assert!(!Errand::new([8; SECRET_BYTES], "/").is_state(&errand.state()));
        // RFC 7636, section 4.1: 43 to 128 characters.
        assert!((43..=128).contains(&errand.verifier().len()));
        for wrong in ["", ".", "00.2f", &"0".repeat(80), &format!("{}.zz", "0".repeat(80))] {
            assert_eq!(Errand::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_cookie_reads_back_and_its_change_token_is_its_own() {
        let secret = SessionSecret::of([7; 40]);
        assert_eq!(SessionSecret::read(&secret.reveal()), Some(secret.clone()));
        assert!(secret.is_change_token(&secret.change_token()));
        for wrong in ["", &secret.reveal(), &SessionSecret::of([8; 40]).change_token()] {
            assert!(!secret.is_change_token(wrong), "{wrong}");
        }
        assert!(!format!("{secret:?}").contains("07"));
        for wrong in ["", "07", &"zz".repeat(40), &"07".repeat(41)] {
            assert_eq!(SessionSecret::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_link_is_good_for_its_token_and_for_a_while() {
        let (token, now) = (Token::of([1; 40]), Timestamp::constant(1_800_000_000, 0));
        let link = SignInLink::new(now, [9; 40]);
        let text = link.text(&token);
        let after = |seconds| now + SignedDuration::from_secs(seconds);
        assert_eq!(SignInLink::read(&text, &token, now), Some(link.clone()));
        assert_eq!(SignInLink::read(&text, &token, after(600)), Some(link));
        assert_eq!(SignInLink::read(&text, &token, after(601)), None, "too late");
        assert_eq!(SignInLink::read(&text, &Token::of([2; 40]), now), None, "another folder's");
        let longer = format!("9{text}");
        for wrong in ["", ".", "..", "1.2.3", &text[..text.len() - 1], &text.to_uppercase(), &longer] {
            assert_eq!(SignInLink::read(wrong, &token, now), None, "{wrong}");
        }
    }
}
