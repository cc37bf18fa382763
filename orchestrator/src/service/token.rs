//! Tokens of the API: how they look, what they may be used for, how one is compared.
//!
//! A token is `trunkline_<id>_<secret>`. The secret is drawn, shown once, and kept as a hash only.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use trunkline_state::folders::{self, NoFolder};

use super::rights::FOLDERS_MAX;

/// What every token begins with, so that scanners of leaked secrets know it.
const PREFIX: &str = "trunkline";
/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 16;
/// Hexadecimal digits of a secret: 32 bytes.
const SECRET_DIGITS: usize = 64;
/// No token is good for longer: a forgotten one ends by itself.
pub const AGE_MAX: SignedDuration = SignedDuration::from_hours(366 * 24);

/// What a token may be used for. Each contains the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at everything.
    Read,
    /// Begin, clear, mark, cancel, pause runs.
    Operate,
    /// Change which versions of pipelines are current.
    Deploy,
    /// Say who may do what.
    Admin,
}

impl Scope {
    /// Every scope, the least first.
    pub const ALL: [Self; 4] = [Self::Read, Self::Operate, Self::Deploy, Self::Admin];

    /// The stored and typed word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }

    /// What somebody is called who may do so much.
    pub fn role(self) -> &'static str {
        match self {
            Self::Read => "viewer",
            Self::Operate => "operator",
            Self::Deploy => "editor",
            Self::Admin => "admin",
        }
    }

    /// The scope of a role.
    pub fn from_role(role: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.role() == role)
    }

    /// The scope that this word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A token with its secret. Shows neither in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the token does not look like one; it is trunkline_ID_SECRET, as `trunkline token create` printed it"
)]
pub struct NoToken;

/// A time that no token may end at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is good for at least a minute and at most 366 days")]
pub struct BadExpiry;

impl Token {
    /// A token of bytes that were just drawn.
    pub fn of(drawn: [u8; 40]) -> Self {
        let digits = hex::encode(drawn);
        Self { id: digits[..ID_DIGITS].to_owned(), secret: digits[ID_DIGITS..].to_owned() }
    }

    /// Reads what a client sent.
    pub fn read(text: &str) -> Result<Self, NoToken> {
        let mut parts = text.trim().split('_');
        let (Some(PREFIX), Some(id), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoToken);
        };
        let digits = |text: &str, length| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !digits(id, ID_DIGITS) || !digits(secret, SECRET_DIGITS) {
            return Err(NoToken);
        }
        Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What its owner sends. To be shown once.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}_{}_{}", self.id, self.secret)
    }

    /// What is stored instead of the secret. The secret has 256 random bits: no salt and no slow hash are
    /// needed against guessing.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.secret).into()
    }

    /// Whether it is the token of a stored hash, in a time that tells nothing about either.
    pub fn is(&self, sha256: &[u8]) -> bool {
        self.sha256()[..].ct_eq(sha256).into()
    }
}

/// The longest name of a token.
const NAME_MAX: usize = 64;

/// A name as the history and log lines can hold it.
pub fn check_name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(format!("a name has 1 to {NAME_MAX} letters, digits, and of _ . -"))
}

/// Folders that no token can be bound to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFolders {
    /// More than anybody reads.
    #[error("a token is good in at most {FOLDERS_MAX} folders")]
    Count,
    /// A word that is none.
    #[error(transparent)]
    Folder(#[from] NoFolder),
    /// Who says what others may do is not of one folder.
    #[error("a token with the scope `admin` is good everywhere: leave the folders out")]
    AdminOfFolder,
}

/// The folders that a token is good in, as they are kept; none named means every one.
pub fn check_folders(scope: Scope, named: &[String]) -> Result<Vec<String>, BadFolders> {
    let folders = named.iter().map(|folder| folders::parse(folder)).collect::<Result<Vec<_>, _>>()?;
    match folders.len() {
        0 => Ok(vec![String::new()]),
        _ if scope == Scope::Admin && folders.iter().any(|folder| !folder.is_empty()) => {
            Err(BadFolders::AdminOfFolder)
        }
        1..=FOLDERS_MAX => Ok(folders),
        _ => Err(BadFolders::Count),
    }
}

/// When a token ends that is good for a duration from now on.
pub fn expiry(now: Timestamp, age: SignedDuration) -> Result<Timestamp, BadExpiry> {
    if age < SignedDuration::from_mins(1) || age > AGE_MAX {
        return Err(BadExpiry);
    }
    now.checked_add(age).map_err(|_| BadExpiry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_only_its_own_hash_fits() {
        let token = Token::of([7; 40]);
        assert_eq!(Token::read(&token.reveal()), Ok(token.clone()));
        assert!(token.is(&token.sha256()));
        assert!(!Token::of([8; 40]).is(&token.sha256()) && !token.is(&[]));
        assert!(!format!("{token:?}").contains(&token.reveal()[30..]));
        for wrong in ["", "trunkline", "trunkline_1_2", &token.reveal().to_uppercase(), "x_y_z_w"] {
            assert_eq!(Token::read(wrong), Err(NoToken), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_good_in_folders_or_everywhere() {
        let of = |scope, folders: &[&str]| {
            check_folders(scope, &folders.iter().map(|folder| (*folder).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(Scope::Read, &[]), Ok(vec![String::new()]));
        assert_eq!(of(Scope::Read, &["a/", "b"]), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(of(Scope::Admin, &["a"]), Err(BadFolders::AdminOfFolder));
        assert_eq!(of(Scope::Read, &["a"; 201]), Err(BadFolders::Count));
        assert!(matches!(of(Scope::Read, &["../a"]), Err(BadFolders::Folder(_))));
    }

    #[test]
    fn a_token_ends_within_a_year() {
        let now = Timestamp::UNIX_EPOCH;
        assert!(expiry(now, SignedDuration::from_hours(24)).is_ok());
        for wrong in [SignedDuration::ZERO, SignedDuration::from_hours(-5), SignedDuration::from_hours(9_000)]
        {
            assert_eq!(expiry(now, wrong), Err(BadExpiry));
        }
        assert_eq!(expiry(Timestamp::MAX, SignedDuration::from_hours(1)), Err(BadExpiry));
    }
}
