//! What an account may be called, and which roles it may have: the same for commands and for the API.

use std::collections::BTreeMap;

use trunkline_state::{
    folders::{self, NoFolder},
    store::AccountChange,
};

use super::{rights::FOLDERS_MAX, token::Scope};

/// The longest name.
const NAME_MAX: usize = 128;

/// Roles by folder of pipelines; `""` is every folder.
pub type Roles = BTreeMap<String, String>;

/// Why an account cannot be so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// Its name.
    #[error(
        "an account's name has 1 to {NAME_MAX} small letters, digits, and of . _ - + @, and begins with a letter or a digit"
    )]
    Name,
    /// None, or too many.
    #[error("an account has roles in 1 to {FOLDERS_MAX} folders")]
    Count,
    /// A folder.
    #[error(transparent)]
    Folder(#[from] NoFolder),
    /// A word that is no role.
    #[error("`{0}` is no role; they are viewer, operator, editor and admin")]
    Role(String),
    /// Who says what others may do is not of one folder.
    #[error("an admin is one everywhere: leave the folder out")]
    AdminOfFolder,
    /// Somebody whom a provider vouches for.
    #[error(
        "{0} signs in at {1}, which says what they may do and who they are; shut the account, or change their groups there"
    )]
    Vouched(String, String),
}

/// A name.
pub fn check_name(name: &str) -> Result<String, AccountError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-+@".contains(&byte);
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let good = begins && name.len() <= NAME_MAX && name.bytes().all(fits);
    if good { Ok(name.to_owned()) } else { Err(AccountError::Name) }
}

/// Roles as they are kept.
pub fn check_roles(roles: Roles) -> Result<Roles, AccountError> {
    if roles.is_empty() || roles.len() > FOLDERS_MAX {
        return Err(AccountError::Count);
    }
    let checked = roles.into_iter().map(|(of, role)| {
        let of = folders::parse(&of)?;
        let Some(scope) = Scope::from_role(&role) else {
            return Err(AccountError::Role(role.chars().take(100).collect()));
        };
        if scope == Scope::Admin && !of.is_empty() {
            Err(AccountError::AdminOfFolder)
        } else {
            Ok((of, role))
        }
    });
    checked.collect()
}

/// Refuses what does not follow from here for somebody whom a provider vouches for.
pub fn check_change(name: &str, issuer: Option<&str>, change: &AccountChange) -> Result<(), AccountError> {
    match issuer {
        Some(issuer) if change.roles.is_some() || change.password.is_some() => {
            Err(AccountError::Vouched(name.to_owned(), issuer.to_owned()))
        }
        _ => Ok(()),
    }
}

/// Roles in one line.
pub fn told(roles: &Roles) -> String {
    let one = |(folder, role): (&String, &String)| {
        if folder.is_empty() { role.clone() } else { format!("{role} of {folder}") }
    };
    roles.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(of: &[(&str, &str)]) -> Roles {
        of.iter().map(|(folder, role)| ((*folder).to_owned(), (*role).to_owned())).collect()
    }

    #[test]
    fn roles_are_known_and_of_folders() {
        let good = check_roles(roles(&[("", "viewer"), ("finance/", "operator")])).unwrap();
        assert_eq!(told(&good), "viewer, operator of finance");
        assert_eq!(check_roles(roles(&[])), Err(AccountError::Count));
        assert_eq!(check_roles(roles(&[("x", "admin")])), Err(AccountError::AdminOfFolder));
        assert_eq!(check_roles(roles(&[("", "boss")])), Err(AccountError::Role("boss".to_owned())));
        assert!(matches!(check_roles(roles(&[("../x", "viewer")])), Err(AccountError::Folder(_))));
    }

    #[test]
    fn names_are_plain() {
        for good in ["ana", "a.b-c_9", "9", "ana+x@example.com"] {
            assert_eq!(check_name(good), Ok(good.to_owned()));
        }
        for wrong in ["", "Ana", ".ana", "a b", "a/b", "ä", "@a", &"a".repeat(129)] {
            assert_eq!(check_name(wrong), Err(AccountError::Name), "{wrong}");
        }
    }
}
