//! Definitions of tables: attributes that only say where rows lie, constraints that Redshift does not enforce.

use super::calls::{closing, meaningful, split};
use super::lexer::{Kind, Piece, text_of};

/// Length of `VARCHAR` and `TEXT` without one.
const VARCHAR_DEFAULT: &str = "varchar(256)";

/// Translates `CREATE TABLE`.
pub(super) fn create(statement: Vec<Piece>) -> Result<Vec<Piece>, String> {
    let open = statement.iter().position(|piece| piece.is_symbol("("));
    let query = statement.iter().position(|piece| piece.is_word("AS"));
    let Some(open) = open.filter(|open| query.is_none_or(|query| *open < query)) else {
        return Ok(with_query(statement, query));
    };
    // `CREATE TABLE t DISTKEY (a) AS …`: the parenthesis is not the list of columns.
    let before = statement[..open].iter().rev().find(|piece| piece.kind != Kind::Blank);
    if before.is_some_and(|piece| piece.is_any(&["DISTKEY", "SORTKEY"])) {
        return Ok(with_query(statement, query));
    }
    let close = closing(&statement, open).ok_or("ERROR: syntax error: a parenthesis is not closed")?;
    let mut out = statement[..=open].to_vec();
    let elements: Vec<Vec<Piece>> =
        split(&statement[open + 1..close]).into_iter().filter_map(element).collect();
    for (at, element) in elements.into_iter().enumerate() {
        if at > 0 {
            out.push(Piece { kind: Kind::Symbol, text: ",".to_owned() });
        }
        out.extend(element);
    }
    out.push(statement[close].clone());
    let rest = statement[close + 1..].to_vec();
    let query = rest.iter().position(|piece| piece.is_word("AS"));
    out.extend(with_query(rest, query));
    Ok(out)
}

/// Leaves out what says where rows lie, up to the query of `CREATE TABLE … AS`.
fn with_query(mut statement: Vec<Piece>, query: Option<usize>) -> Vec<Piece> {
    let query = query.map(|at| statement.split_off(at)).unwrap_or_default();
    let mut out = strip(statement);
    out.extend(query);
    out
}

/// Leaves out the attributes that say where rows lie.
pub(super) fn strip(statement: Vec<Piece>) -> Vec<Piece> {
    let mut out = Vec::with_capacity(statement.len());
    let mut at = 0;
    while at < statement.len() {
        if let Some(end) = attribute(&statement, at) {
            at = end;
        } else {
            out.push(statement[at].clone());
            at += 1;
        }
    }
    out
}

/// Where the attribute that begins at `at` ends, if one does.
fn attribute(pieces: &[Piece], at: usize) -> Option<usize> {
    let piece = &pieces[at];
    let next = meaningful(pieces, at + 1);
    let list = |from: usize| {
        let open = meaningful(pieces, from).filter(|open| pieces[*open].is_symbol("("))?;
        Some(closing(pieces, open)? + 1)
    };
    if piece.is_any(&["DISTSTYLE", "ENCODE", "BACKUP"]) {
        return next.filter(|next| pieces[*next].kind == Kind::Word).map(|next| next + 1);
    }
    if piece.is_word("DISTKEY") {
        return Some(list(at + 1).unwrap_or(at + 1));
    }
    if piece.is_word("SORTKEY") {
        let auto = next.filter(|next| pieces[*next].is_word("AUTO")).map(|next| next + 1);
        return Some(auto.or_else(|| list(at + 1)).unwrap_or(at + 1));
    }
    if piece.is_any(&["COMPOUND", "INTERLEAVED"]) {
        let sortkey = next.filter(|next| pieces[*next].is_word("SORTKEY"))?;
        return attribute(pieces, sortkey);
    }
    None
}

/// One element of the list: a column, or a constraint; `None` if nothing is left of it.
fn element(part: &[Piece]) -> Option<Vec<Piece>> {
    let begin = meaningful(part, 0)?;
    let mut body = begin;
    if part[begin].is_word("CONSTRAINT") {
        let name = meaningful(part, begin + 1)?;
        body = meaningful(part, name + 1)?;
    }
    let first = &part[body];
    if first.is_word("LIKE") {
        return Some(part.to_vec());
    }
    if first.is_any(&["UNIQUE", "FOREIGN"]) {
        return None;
    }
    if first.is_word("PRIMARY") {
        let open = part.iter().position(|piece| piece.is_symbol("("))?;
        let columns = split(&part[open + 1..closing(part, open)?]);
        let checks: Vec<String> =
            columns.iter().map(|column| format!("{} IS NOT NULL", text_of(column).trim())).collect();
        return Some(vec![Piece::made(format!(" CHECK ({})", checks.join(" AND ")))]);
    }
    Some(column(part, begin))
}

/// A column: name, type, attributes.
fn column(part: &[Piece], name: usize) -> Vec<Piece> {
    // The name may be any word, also one that is an attribute elsewhere.
    let mut out = part[..=name].to_vec();
    let rest = strip(part[name + 1..].to_vec());
    let mut at = 0;
    if let Some(kind) = meaningful(&rest, 0) {
        let (default, next) = untyped_length(&rest, kind);
        out.extend_from_slice(&rest[..kind]);
        out.push(default.unwrap_or_else(|| rest[kind].clone()));
        at = next;
    }
    while at < rest.len() {
        let next = meaningful(&rest, at + 1);
        if rest[at].is_word("IDENTITY")
            && let Some(open) = next.filter(|open| rest[*open].is_symbol("("))
            && let Some(close) = closing(&rest, open)
        {
            out.push(Piece::made(identity(&out, &rest[open + 1..close])));
            at = close + 1;
        } else if rest[at].is_word("PRIMARY") {
            out.push(Piece::made("NOT NULL"));
            at = next.map_or(rest.len(), |key| key + 1);
        } else if rest[at].is_word("UNIQUE") {
            at += 1;
        } else if rest[at].is_word("REFERENCES") {
            at = references(&rest, at);
        } else {
            out.push(rest[at].clone());
            at += 1;
        }
    }
    out
}

/// A text type without a length gets Redshift's; and where the type ends.
fn untyped_length(rest: &[Piece], kind: usize) -> (Option<Piece>, usize) {
    let next = meaningful(rest, kind + 1);
    let has_length = |at: Option<usize>| at.is_some_and(|at| rest[at].is_symbol("("));
    if rest[kind].is_any(&["VARCHAR", "NVARCHAR", "TEXT"]) {
        // TEXT with a length is none of PostgreSQL's types.
        let name = Piece::made(if has_length(next) { "varchar" } else { VARCHAR_DEFAULT });
        return (Some(name), kind + 1);
    }
    if rest[kind].is_word("CHARACTER")
        && let Some(varying) = next.filter(|next| rest[*next].is_word("VARYING"))
    {
        let length = has_length(meaningful(rest, varying + 1));
        return (Some(Piece::made(if length { "varchar" } else { VARCHAR_DEFAULT })), varying + 1);
    }
    (None, kind + 1)
}

/// `IDENTITY(seed, step)`, after `GENERATED BY DEFAULT AS` or alone.
fn identity(before: &[Piece], arguments: &[Piece]) -> String {
    let numbers: Vec<String> = split(arguments).iter().map(|part| text_of(part).trim().to_owned()).collect();
    let generated =
        before.iter().rev().find(|piece| piece.kind != Kind::Blank).is_some_and(|piece| piece.is_word("AS"));
    let head = if generated { "IDENTITY" } else { "GENERATED ALWAYS AS IDENTITY" };
    match numbers.as_slice() {
        [seed, step] => format!("{head} (START WITH {seed} INCREMENT BY {step})"),
        _ => head.to_owned(),
    }
}

/// Where `REFERENCES table [(column)]` ends.
fn references(rest: &[Piece], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(next) = meaningful(rest, end) {
        let piece = &rest[next];
        if piece.is_symbol("(") {
            return closing(rest, next).map_or(rest.len(), |close| close + 1);
        }
        let name =
            matches!(piece.kind, Kind::Word | Kind::Quoted) && !piece.is_any(&["NOT", "NULL", "DEFAULT"]);
        if !(name || piece.is_symbol(".")) {
            break;
        }
        end = next + 1;
    }
    end
}
