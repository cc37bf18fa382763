//! Calls of functions and single words that are written differently.

use super::lexer::{Kind, Piece, text_of};
use super::parameters::literal;

/// How deep calls may stand in each other; a statement beyond it is nobody's work.
const DEPTH_MAX: usize = 200;

/// The functions whose first argument may be a bare unit.
const WITH_UNIT: [&str; 4] = ["DATEADD", "DATEDIFF", "DATE_PART", "PGDATE_PART"];

/// Rewrites all pieces of a statement of this database.
pub(super) fn rewrite(pieces: &[Piece], database: &str) -> Result<Vec<Piece>, String> {
    Rewriting { database }.all(pieces, 0)
}

/// The first piece from `from` on that is not blank.
pub(super) fn meaningful(pieces: &[Piece], from: usize) -> Option<usize> {
    (from..pieces.len()).find(|at| pieces[*at].kind != Kind::Blank)
}

/// The place of the parenthesis that closes the one at `open`.
pub(super) fn closing(pieces: &[Piece], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, piece) in pieces.iter().enumerate().skip(open) {
        if piece.is_symbol("(") {
            depth += 1;
        } else if piece.is_symbol(")") {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// The parts between commas that are in no parenthesis.
pub(super) fn split(pieces: &[Piece]) -> Vec<&[Piece]> {
    let mut parts = Vec::new();
    let (mut depth, mut begin) = (0_usize, 0);
    for (at, piece) in pieces.iter().enumerate() {
        if piece.is_symbol("(") {
            depth += 1;
        } else if piece.is_symbol(")") {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && piece.is_symbol(",") {
            parts.push(&pieces[begin..at]);
            begin = at + 1;
        }
    }
    parts.push(&pieces[begin..]);
    parts
}

/// A part without the blanks around it.
fn trimmed(part: &[Piece]) -> &[Piece] {
    let begin = meaningful(part, 0).unwrap_or(part.len());
    let end = part.iter().rposition(|piece| piece.kind != Kind::Blank).map_or(begin, |last| last + 1);
    &part[begin..end.max(begin)]
}

struct Rewriting<'a> {
    database: &'a str,
}

impl Rewriting<'_> {
    fn all(&self, pieces: &[Piece], depth: usize) -> Result<Vec<Piece>, String> {
        if depth > DEPTH_MAX {
            return Err(format!("ERROR: more than {DEPTH_MAX} calls in each other"));
        }
        let mut out: Vec<Piece> = Vec::with_capacity(pieces.len());
        let mut at = 0;
        while at < pieces.len() {
            let before = out.iter().rev().find(|piece| piece.kind != Kind::Blank);
            let qualified = before.is_some_and(|piece| piece.is_symbol("."));
            if pieces[at].kind == Kind::Word && !qualified {
                if let Some((made, next)) = self.call(pieces, at, depth)? {
                    out.extend(made);
                    at = next;
                    continue;
                }
                if let Some(made) = word(pieces, at) {
                    out.push(made);
                    at += 1;
                    continue;
                }
            }
            out.push(pieces[at].clone());
            at += 1;
        }
        Ok(out)
    }

    /// What stands for the call at `at`, if it is one that is written differently, and where it ends.
    fn call(&self, pieces: &[Piece], at: usize, depth: usize) -> Result<Option<(Vec<Piece>, usize)>, String> {
        let Some(open) = meaningful(pieces, at + 1).filter(|next| pieces[*next].is_symbol("(")) else {
            return Ok(None);
        };
        let name = pieces[at].text.to_uppercase();
        let known = WITH_UNIT.contains(&name.as_str())
            || ["NVL", "NVL2", "DECODE", "CONVERT", "LISTAGG", "CURRENT_DATABASE"].contains(&name.as_str());
        let Some(close) = closing(pieces, open).filter(|_| known) else { return Ok(None) };
        let inner = &pieces[open + 1..close];
        if name == "CURRENT_DATABASE" {
            return Ok(Some((vec![Piece::made(format!("{}::name", literal(self.database)))], close + 1)));
        }
        let mut arguments = Vec::new();
        for part in split(inner) {
            arguments.push(text_of(trimmed(&self.all(part, depth + 1)?)));
        }
        let made = match (name.as_str(), arguments.as_slice()) {
            ("NVL", _) => format!("COALESCE({})", arguments.join(", ")),
            ("NVL2", [value, then, otherwise]) => {
                format!("(CASE WHEN ({value}) IS NOT NULL THEN {then} ELSE {otherwise} END)")
            }
            ("DECODE", [value, cases @ ..]) if cases.len() >= 2 => decode(value, cases),
            ("CONVERT", [kind, value]) => format!("CAST({value} AS {kind})"),
            ("LISTAGG", [_] | [_, _]) => return self.listagg(pieces, &arguments, close, depth).map(Some),
            ("DATEADD", [unit, number, moment]) => {
                format!("dateadd({}, {number}, {})", unit_text(unit), moment_text(moment))
            }
            ("DATEDIFF", [unit, from, to]) => {
                format!("datediff({}, {}, {})", unit_text(unit), moment_text(from), moment_text(to))
            }
            ("DATE_PART" | "PGDATE_PART", [unit, moment]) => {
                format!("date_part({}, {})", unit_text(unit), moment_text(moment))
            }
            _ => return Ok(None),
        };
        Ok(Some((vec![Piece::made(made)], close + 1)))
    }

    /// `LISTAGG([DISTINCT] value [, delimiter]) [WITHIN GROUP (ORDER BY …)]`: values without nulls, nothing if
    /// there are none.
    fn listagg(
        &self,
        pieces: &[Piece],
        arguments: &[String],
        close: usize,
        depth: usize,
    ) -> Result<(Vec<Piece>, usize), String> {
        let delimiter = arguments.get(1).map_or("''", String::as_str);
        let (mut order, mut end) = (String::new(), close + 1);
        let within = meaningful(pieces, end).filter(|at| pieces[*at].is_word("WITHIN"));
        let group =
            within.and_then(|at| meaningful(pieces, at + 1)).filter(|at| pieces[*at].is_word("GROUP"));
        if let Some(open) =
            group.and_then(|at| meaningful(pieces, at + 1)).filter(|at| pieces[*at].is_symbol("("))
            && let Some(last) = closing(pieces, open)
        {
            order = format!(" {}", text_of(&self.all(&pieces[open + 1..last], depth + 1)?));
            end = last + 1;
        }
        if meaningful(pieces, end).is_some_and(|at| pieces[at].is_word("OVER")) {
            return Err(
                "ERROR: LISTAGG … OVER is not offered by the sandbox: group the rows instead".to_owned()
            );
        }
        let distinct = arguments[0].get(..8).is_some_and(|word| word.eq_ignore_ascii_case("DISTINCT"));
        let value = if distinct { arguments[0][8..].trim() } else { &arguments[0] };
        let made = format!(
            "array_to_string(array_agg({}{order}) FILTER (WHERE ({value}) IS NOT NULL), {delimiter})",
            arguments[0]
        );
        Ok((vec![Piece::made(made)], end))
    }
}

/// What stands for a single word.
fn word(pieces: &[Piece], at: usize) -> Option<Piece> {
    let piece = &pieces[at];
    let next = meaningful(pieces, at + 1).map(|next| &pieces[next]);
    let next_is = |words: &[&str]| next.is_some_and(|next| next.is_any(words));
    let before = pieces[..at].iter().rev().find(|piece| piece.kind != Kind::Blank);
    let opened = before.is_some_and(|before| before.is_symbol("("));
    if piece.is_word("SYSDATE") && !next.is_some_and(|next| next.is_symbol("(")) {
        Some(Piece::made("sysdate()"))
    } else if piece.is_word("MINUS")
        && (next_is(&["SELECT", "ALL"]) || next.is_some_and(|next| next.is_symbol("(")))
    {
        Some(Piece::made("EXCEPT"))
    } else if piece.is_word("APPROXIMATE") && next_is(&["COUNT"]) {
        Some(Piece::made(""))
    } else if piece.is_word("MAX") && opened && next.is_some_and(|next| next.is_symbol(")")) {
        // A length: the function of this name has an argument.
        Some(Piece::made("65535"))
    } else {
        None
    }
}

fn decode(value: &str, cases: &[String]) -> String {
    let mut text = "(CASE".to_owned();
    let pairs = cases.chunks_exact(2);
    let otherwise = pairs.remainder().first();
    for pair in pairs {
        text.push_str(&format!(" WHEN ({value}) IS NOT DISTINCT FROM ({}) THEN {}", pair[0], pair[1]));
    }
    if let Some(otherwise) = otherwise {
        text.push_str(&format!(" ELSE {otherwise}"));
    }
    text + " END)"
}

/// A bare unit as a text.
fn unit_text(unit: &str) -> String {
    let bare = !unit.is_empty() && unit.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    if bare { format!("'{}'", unit.to_lowercase()) } else { unit.to_owned() }
}

/// A text literal as a moment: Redshift takes it for a timestamp.
fn moment_text(moment: &str) -> String {
    let pieces = super::lexer::pieces(moment);
    match pieces.as_slice() {
        [one] if one.kind == Kind::Text => format!("{moment}::timestamp"),
        _ => moment.to_owned(),
    }
}
