//! The tables that a query names, found in its text: what stands behind FROM, JOIN and INTO.
//!
//! This is no parser. It serves looks that are made before a run, where a table that is overlooked costs nothing
//! but the look; so what it does not understand it leaves out. Athena alone decides what a query means.

/// A table as a query names it: its database, if that is named, and its name, both in lower case.
pub(super) type Named = (Option<String>, String);

/// Words behind FROM that name no table.
const NO_TABLES: [&str; 4] = ["select", "unnest", "lateral", "values"];

/// Functions whose arguments have a FROM of their own.
const WITH_FROM: [&str; 5] = ["extract", "substring", "trim", "overlay", "position"];

/// Finds the tables of a query; names of its own WITH clauses are no tables.
pub(super) fn tables(sql: &str) -> Vec<Named> {
    let words = words(sql);
    let text = |at: usize| words.get(at).map_or("", String::as_str);
    let mut own: Vec<&str> = Vec::new();
    for at in 0..words.len() {
        // `name AS (`, also behind a list of columns.
        if text(at) == "as" && text(at + 1) == "(" && at > 0 {
            let mut before = at - 1;
            if text(before) == ")" {
                while before > 0 && text(before) != "(" {
                    before -= 1;
                }
                before = before.saturating_sub(1);
            }
            own.push(text(before));
        }
    }
    let mut found: Vec<Named> = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    for at in 0..words.len() {
        match text(at) {
            "(" => open.push(if at == 0 { "" } else { text(at - 1) }),
            ")" => drop(open.pop()),
            "from" | "join" | "into" if !open.last().is_some_and(|name| WITH_FROM.contains(name)) => {
                let mut parts = vec![text(at + 1)];
                let mut next = at + 2;
                while text(next) == "." {
                    parts.push(text(next + 1));
                    next += 2;
                }
                let is_name = |part: &&str| part.starts_with(|c: char| c.is_alphanumeric() || c == '_');
                let plain = parts.iter().all(is_name) && parts.len() <= 3 && text(next) != "(";
                let name = parts.pop().unwrap_or_default();
                let database = parts.pop();
                // A third part is the catalog.
                let other_catalog = parts.pop().is_some_and(|catalog| catalog != "awsdatacatalog");
                let known = database.is_none() && (own.contains(&name) || NO_TABLES.contains(&name));
                // `INSERT INTO t (a)` has columns behind its name.
                let plain = plain || (text(at) == "into" && text(next) == "(");
                let named = (database.map(str::to_owned), name.to_owned());
                if plain && !known && !other_catalog && !found.contains(&named) {
                    found.push(named);
                }
            }
            _ => {}
        }
    }
    found
}

/// Words and signs in lower case, quoted names without their quotes; texts and comments are left out.
fn words(sql: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut letters = sql.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => skip(&mut letters, |c| c == '\''),
            '"' | '`' => {
                let name: String = letters.by_ref().take_while(|c| *c != letter).collect();
                words.push(name.to_lowercase());
            }
            '-' if letters.peek() == Some(&'-') => skip(&mut letters, |c| c == '\n'),
            '/' if letters.peek() == Some(&'*') => {
                letters.next();
                let mut last = ' ';
                skip(&mut letters, |c| std::mem::replace(&mut last, c) == '*' && c == '/');
            }
            c if c.is_alphanumeric() || c == '_' => {
                let mut word = c.to_lowercase().to_string();
                while let Some(c) = letters.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.extend(c.to_lowercase());
                }
                words.push(word);
            }
            c if c.is_whitespace() => {}
            c => words.push(c.to_string()),
        }
    }
    words
}

/// Goes on behind the letter that ends something.
fn skip(letters: &mut impl Iterator<Item = char>, mut ends: impl FnMut(char) -> bool) {
    for letter in letters {
        if ends(letter) {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_found_where_they_stand() {
        for (sql, expected) in [
            ("SELECT 1", vec![]),
            ("SELECT * FROM Calls c JOIN lake.\"Two\" t ON c.a = t.a", vec!["calls", "lake.two"]),
            ("WITH x AS (SELECT 1), y (a) AS (SELECT 2) SELECT * FROM x, y LEFT JOIN z ON true", vec!["z"]),
            ("SELECT extract(year FROM d), trim(both ' ' from e) FROM (SELECT * FROM t)", vec!["t"]),
            ("SELECT 'FROM a' -- FROM b\n /* FROM c */ FROM awsdatacatalog.lake.d", vec!["lake.d"]),
            ("SELECT * FROM UNNEST(a) CROSS JOIN UNNEST(b)", vec![]),
            ("INSERT INTO t (a) SELECT a FROM u", vec!["t", "u"]),
            ("SELECT * FROM other.lake.t", vec![]),
        ] {
            let found: Vec<_> = tables(sql)
                .into_iter()
                .map(|(database, name)| database.map(|it| format!("{it}.")).unwrap_or_default() + &name)
                .collect();
            assert_eq!(found, expected, "{sql}");
        }
    }
}
