//! `${VAR}` in the project file: values that differ from machine to machine, and secrets.

/// Why a text could not be completed. Names only: a value never appears.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InterpolateError {
    /// Not set.
    #[error("environment variable `{0}` is not set")]
    Unset(String),
    /// `${` without `}`.
    #[error("`${{` has no `}}`")]
    Open,
    /// Not a name.
    #[error("`{0}` is no name of an environment variable")]
    Name(String),
}

/// Replaces each `${NAME}` and `${NAME:-default}`; `$$` is one `$`.
pub(super) fn interpolate(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, InterpolateError> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(escaped) = after.strip_prefix('$') {
            result.push('$');
            rest = escaped;
        } else if let Some(inside) = after.strip_prefix('{') {
            let end = inside.find('}').ok_or(InterpolateError::Open)?;
            result.push_str(&value(&inside[..end], lookup)?);
            rest = &inside[end + 1..];
        } else {
            result.push('$');
            rest = after;
        }
    }
    result.push_str(rest);
    Ok(result)
}

fn value(inside: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, InterpolateError> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let sound = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !sound {
        return Err(InterpolateError::Name(name.chars().take(60).collect()));
    }
    // As in shells, `:-` replaces an empty value too.
    match (lookup(name), default) {
        (Some(found), None) => Ok(found),
        (Some(found), Some(_)) if !found.is_empty() => Ok(found),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(InterpolateError::Unset(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_defaults_and_escapes() {
        let lookup = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let run = |text: &str| interpolate(text, &lookup);
        assert_eq!(run("x${A}y${A}"), Ok("xoneyone".to_owned()));
        assert_eq!(run("${B:-two}${EMPTY:-three}"), Ok("twothree".to_owned()));
        assert_eq!(run("$$ {A} $A $${A}"), Ok("$ {A} $A ${A}".to_owned()));
        assert_eq!(run("${B}"), Err(InterpolateError::Unset("B".to_owned())));
        assert_eq!(run("${A"), Err(InterpolateError::Open));
        assert_eq!(run("${a b}"), Err(InterpolateError::Name("a b".to_owned())));
    }
}
