//! `:name` in SQL, as the numbered places that Postgres binds.

/// The statement with `$1`, `$2`, … for its names, and the names in that order. What stands in texts, names in
/// double quotes and comments is left alone, as are casts (`::date`) and slices (`[1:2]`).
pub(crate) fn numbered(text: &str) -> (String, Vec<String>) {
    let mut sql = String::with_capacity(text.len());
    let mut names: Vec<String> = Vec::new();
    let mut rest = text.trim().trim_end_matches(';').trim_end();
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest);
        if length > 0 {
            sql.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        let name: String = rest[first.len_utf8()..].chars().take_while(|c| is_word(*c)).collect();
        let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if first == ':' && begins_well && !sql.ends_with(|c: char| is_word(c) || c == ']') {
            let place = names.iter().position(|known| *known == name).unwrap_or(names.len());
            if place == names.len() {
                names.push(name.clone());
            }
            sql.push_str(&format!("${}", place + 1));
            rest = &rest[1 + name.len()..];
            continue;
        }
        sql.push(first);
        rest = &rest[first.len_utf8()..];
    }
    (sql, names)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// How much at the beginning holds no names: a text, a quoted name, a comment, a cast.
fn skipped(rest: &str) -> usize {
    let until =
        |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("::") {
        return 2;
    }
    if rest.starts_with("--") {
        return until(2, "\n");
    }
    if rest.starts_with("/*") {
        return until(2, "*/");
    }
    match rest.chars().next() {
        Some('\'') => until(1, "'"),
        Some('"') => until(1, "\""),
        Some('$') => {
            let tag: String = rest[1..].chars().take_while(|c| is_word(*c)).collect();
            let delimiter = format!("${tag}$");
            if rest.starts_with(&delimiter) { until(delimiter.len(), &delimiter) } else { 0 }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers_and_nothing_else_does() {
        for (text, expected, names) in [
            ("SELECT :a, :b, :a;", "SELECT $1, $2, $1", vec!["a", "b"]),
            ("SELECT :day::date", "SELECT $1::date", vec!["day"]),
            ("SELECT ':a', \":b\" -- :c\n, :d", "SELECT ':a', \":b\" -- :c\n, $1", vec!["d"]),
            ("SELECT /* :a */ x[1:2], t.y[:n]", "SELECT /* :a */ x[1:2], t.y[$1]", vec!["n"]),
            ("SELECT $q$ :a $q$, 'it''s :b', :c", "SELECT $q$ :a $q$, 'it''s :b', $1", vec!["c"]),
            ("SELECT 'never ended :a", "SELECT 'never ended :a", vec![]),
            ("SELECT '10:30'::time, 1 : :a", "SELECT '10:30'::time, 1 : $1", vec!["a"]),
        ] {
            let (sql, found) = numbered(text);
            assert_eq!((sql.as_str(), found), (expected, names.iter().map(ToString::to_string).collect()));
        }
    }
}
