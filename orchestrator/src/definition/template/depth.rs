//! How deep a template may be, told from its words before it is parsed.
//!
//! The template engine parses, compiles and drops trees by recursion, and bounds only some of it: a chain of
//! ten thousand `not`, filters or sums would overflow the stack and take the whole process down. No tree is
//! deeper than its expression has words, or its blocks are nested. What a template means is not known here.

use std::ops::Range;

use minijinja::machinery::{Token, tokenize};

use super::syntax;

/// Words of one `{{ … }}` or `{% … %}`. A stack of 2 MiB takes more than twice as many of the costliest, in a
/// build without optimisation; people write twenty.
pub(super) const WORDS_MAX: usize = 1_000;
/// Blocks within blocks; each branch of an `if` counts, since it lies within the one before.
const BLOCKS_MAX: usize = 64;

/// What is too deep for the template engine, if anything is, and where.
pub(super) fn too_deep(text: &str) -> Option<(Range<usize>, String)> {
    // Every word has a byte at least, and a block has more than this limit's worth of them.
    if text.len() <= WORDS_MAX.min(BLOCKS_MAX * "{%if1%}".len()) {
        return None;
    }
    of_words(text, false)
}

/// The same of an expression without its braces.
pub(super) fn expression_too_deep(text: &str) -> bool {
    text.len() > WORDS_MAX && of_words(text, true).is_some()
}

fn of_words(text: &str, in_expression: bool) -> Option<(Range<usize>, String)> {
    let (mut words, mut begins, mut is_first) = (0, 0, false);
    // How deep the blocks around this place are, for each that is open.
    let mut blocks: Vec<usize> = Vec::new();
    // Text that cannot be split into words is no template; the parser says so, as far as it comes.
    for (word, span) in tokenize(text, in_expression, syntax()).map_while(Result::ok) {
        let place = span.start_offset as usize..span.end_offset as usize;
        match word {
            Token::TemplateData(_) | Token::VariableStart | Token::BlockStart => {
                (words, begins) = (0, place.start);
                is_first = matches!(word, Token::BlockStart);
                continue;
            }
            Token::Ident(name) if is_first => nest(&mut blocks, name),
            _ => {}
        }
        is_first = false;
        words += 1;
        if words > WORDS_MAX {
            let message =
                format!("an expression of a template has at most {WORDS_MAX} words, and this one has more");
            return Some((begins..place.end, message));
        }
        if blocks.last().is_some_and(|depth| *depth > BLOCKS_MAX) {
            return Some((
                place,
                format!("blocks of a template lie at most {BLOCKS_MAX} deep within one another"),
            ));
        }
    }
    None
}

/// Counts the first word of a block.
fn nest(blocks: &mut Vec<usize>, word: &str) {
    if word.starts_with("end") {
        blocks.pop();
    } else if word == "elif" {
        if let Some(depth) = blocks.last_mut() {
            *depth += 1;
        }
    } else if matches!(word, "if" | "for" | "with" | "filter" | "autoescape" | "macro" | "call" | "block") {
        let depth = blocks.last().map_or(0, |depth| *depth);
        blocks.push(depth + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_overflow_the_stack_is_refused_and_nothing_else() {
        let chain = |piece: &str, times: usize| format!("{{{{ 1{} }}}}", piece.repeat(times));
        for (piece, words) in
            [("|abs", 2), (".a", 2), (" + 1", 2), ("[0]", 3), (" is not none", 3), (" and 1", 2)]
        {
            assert_eq!(too_deep(&chain(piece, WORDS_MAX / words - 2)), None, "{piece}");
            let (span, message) = too_deep(&chain(piece, WORDS_MAX)).unwrap();
            assert!(span.start == 0 && message.contains("at most 1000 words"), "{piece}: {message}");
        }
        assert!(too_deep(&format!("{{{{ {}1 }}}}", "not ".repeat(20_000))).is_some());
        assert!(expression_too_deep(&"not ".repeat(20_000)) && !expression_too_deep(&"a ".repeat(400)));
        assert!(too_deep(&"{% if 1 %}".repeat(50_000)).unwrap().1.contains("64 deep"));
        let branches = format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(70));
        assert!(too_deep(&branches).is_some());
    }

    #[test]
    fn long_templates_are_not_deep_ones() {
        assert_eq!(
            too_deep(&"{% if a %}{{ b | upper }}{% elif c %}{% else %}{% endif %}".repeat(5_000)),
            None
        );
        assert_eq!(too_deep(&"{% set x = 1 %}".repeat(5_000)), None);
        assert_eq!(too_deep(&"plain words ".repeat(50_000)), None);
    }
}
