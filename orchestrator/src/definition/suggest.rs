//! "Did you mean …?"

/// Two words are alike from this similarity on (Jaro-Winkler, 0 to 1): one slip in a short
/// word, two in a long one.
const SIMILARITY_MIN: f64 = 0.78;
/// At most so many names are listed where none is alike.
const LISTED_MAX: usize = 20;

/// So many candidates are compared with a word: in a file of thousands of wrong names every one of them would
/// otherwise be compared with every right one.
const COMPARED_MAX: usize = 500;

/// Longer words are compared with none: names are shorter, and time and memory grow with both lengths.
const WORD_BYTES_MAX: usize = 256;

/// The candidate that the word was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .take(COMPARED_MAX)
        .filter(|candidate| candidate.len() <= WORD_BYTES_MAX)
        .map(|candidate| {
            let score = strsim::jaro_winkler(&lower, &candidate.to_lowercase());
            let close = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()) <= 2;
            (candidate, if close { score + 0.1 } else { score })
        })
        .filter(|(_, score)| *score >= SIMILARITY_MIN)
        .max_by(|(_, one), (_, other)| one.total_cmp(other))
        .map(|(candidate, _)| candidate)
}

/// `did you mean `x`?`, or the list of what there is.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
    kind: &str,
) -> Option<String> {
    if let Some(found) = nearest(word, candidates.clone()) {
        return Some(format!("did you mean `{found}`?"));
    }
    let mut all: Vec<&str> = candidates.into_iter().collect();
    if all.is_empty() {
        return None;
    }
    let total = all.len();
    all.truncate(LISTED_MAX);
    let listed = all.join(", ");
    let rest = if total > LISTED_MAX { format!(" and {} more", total - LISTED_MAX) } else { String::new() };
    Some(format!("{kind}: {listed}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = ["depends_on", "retries", "retry_delay", "timeout", "type"];
        assert_eq!(nearest("dependson", keys), Some("depends_on"));
        assert_eq!(nearest("retrys", keys), Some("retries"));
        assert_eq!(nearest("tpye", keys), Some("type"));
        assert_eq!(nearest("colour", keys), None);
    }

    #[test]
    fn what_is_far_longer_than_a_name_is_compared_with_none() {
        let long = "a".repeat(1024 * 1024);
        assert_eq!(nearest(&long, [long.as_str(), "a"]), None);
        assert_eq!(nearest("a", [long.as_str()]), None);
    }

    #[test]
    fn without_a_likely_word_the_words_are_listed() {
        assert_eq!(did_you_mean("x", ["aa", "bb"], "names").as_deref(), Some("names: aa, bb"));
        assert_eq!(did_you_mean("x", [], "names"), None);
    }
}
