//! Hive's folder names `key=value`, and which objects below a folder are data.

/// The folder name value of a null.
pub const NULL_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// Characters that Hive and Spark escape in folder names.
const ESCAPED: &str = "\"#%'*/:=?\\{[]^\u{7f}";

/// The folder name of one partition value.
pub fn folder(key: &str, value: Option<&str>) -> String {
    match value {
        None | Some("") => format!("{}={NULL_VALUE}", escape(key)),
        Some(value) => format!("{}={}", escape(key), escape(value)),
    }
}

/// Key and value of a folder name, if it is one of Hive's; the value is `None` for a null.
pub fn parse_folder(segment: &str) -> Option<(String, Option<String>)> {
    let (key, value) = segment.split_once('=')?;
    if key.is_empty() {
        return None;
    }
    let value = (value != NULL_VALUE).then(|| unescape(value));
    Some((unescape(key), value))
}

/// Whether a path below a table's folder is data: Hive, Spark and Glue pass over names that begin with `_`
/// or `.`, and names that end in `/` are folder markers.
pub fn is_data(relative_key: &str) -> bool {
    !relative_key.is_empty()
        && !relative_key.ends_with('/')
        && relative_key
            .split('/')
            .all(|segment| !segment.starts_with('.') && (!segment.starts_with('_') || segment.contains('=')))
}

/// A key prefix that ends in a slash, so that it means a folder.
pub fn as_folder(prefix: &str) -> String {
    if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || ESCAPED.contains(c) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                out.push('%');
                out.push_str(&hex::encode_upper([byte]));
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let decoded = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| hex::decode(digits).ok())
            .and_then(|decoded| decoded.first().copied());
        if let Some(byte) = decoded {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_go_there_and_back() {
        for value in ["2026", "a b", "a/b=c%", "00:15", "ü"] {
            let name = folder("day", Some(value));
            assert!(!name[4..].contains(['/', '=']), "{name}");
            assert_eq!(parse_folder(&name), Some(("day".to_owned(), Some(value.to_owned()))));
        }
        assert_eq!(parse_folder(&folder("day", None)), Some(("day".to_owned(), None)));
        assert_eq!(parse_folder("json"), None);
        assert_eq!(parse_folder("k=100%"), Some(("k".to_owned(), Some("100%".to_owned()))));
    }

    #[test]
    fn tells_data_from_other_objects() {
        assert!(is_data("json/2026/14.22.31.000_x"));
        assert!(is_data("_k=1/part-0"));
        assert!(!is_data("_temporary/part-0"));
        assert!(!is_data("a/.hidden"));
        assert!(!is_data("a/"));
        assert!(!is_data(""));
    }
}
