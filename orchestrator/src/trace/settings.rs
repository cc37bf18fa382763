//! Where traces go: the standard variables of OpenTelemetry, and nothing of our own.
//!
//! Headers are the one standard variable that is not read here but by the exporter: they hold tokens.

use std::sync::Arc;

use url::Url;

use super::Export;

/// Where signals of all kinds go; traces to `/v1/traces` below it.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Where traces go, as it stands.
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
/// The path below an endpoint for all signals, as the protocol has it.
const TRACES_PATH: &str = "v1/traces";
/// The one protocol that is spoken, as the standard calls it.
const PROTOCOL: &str = "http/protobuf";

/// What the standard variables say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// No traces are wanted.
    Off,
    /// They are wanted, and cannot be had: why, and what to do.
    Refused(String),
    /// They go to this address.
    To(Url),
}

impl Settings {
    /// Reads the variables, in which empty and unset are the same.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        if variable("OTEL_SDK_DISABLED").is_some_and(|text| text.trim().eq_ignore_ascii_case("true")) {
            return Self::Off;
        }
        let Some((name, text)) =
            [TRACES_ENDPOINT, ENDPOINT].iter().find_map(|name| Some((*name, variable(name)?)))
        else {
            return Self::Off;
        };
        if !cfg!(feature = "otel") {
            return Self::Refused(format!(
                "{name} is set, but this program was built without OpenTelemetry: no traces are exported; \
                 build it with `--features otel`"
            ));
        }
        let spoken = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
        let spoken = spoken.iter().find_map(|name| Some((*name, variable(name)?)));
        if let Some((name, other)) = spoken.filter(|(_, spoken)| spoken != PROTOCOL) {
            return Self::Refused(format!(
                "{name} is `{other}`, and only {PROTOCOL} is spoken here: no traces are exported; set it to \
                 {PROTOCOL}, and the endpoint to the receiver's port for that, usually 4318"
            ));
        }
        match address(&text, name == ENDPOINT) {
            Some(url) => Self::To(url),
            // The value may hold a password, so it is not repeated.
            None => Self::Refused(format!(
                "{name} is no http:// or https:// URL: no traces are exported; write http://collector:4318"
            )),
        }
    }

    /// The way there, if there is one.
    pub fn open(&self) -> Option<Arc<dyn Export>> {
        match self {
            #[cfg(feature = "otel")]
            Self::To(url) => match super::otlp::Otlp::new(url) {
                Ok(otlp) => Some(Arc::new(otlp)),
                Err(why) => {
                    tracing::warn!("no traces are exported to {}: {why}", shown(url));
                    None
                }
            },
            #[cfg(not(feature = "otel"))]
            Self::To(_) => None,
            Self::Off | Self::Refused(_) => None,
        }
    }

    /// The address as people may see it, if traces go anywhere.
    pub fn shown(&self) -> Option<String> {
        match self {
            Self::To(url) => Some(shown(url)),
            Self::Off | Self::Refused(_) => None,
        }
    }
}

/// The full address, from that of all signals or of traces alone.
fn address(text: &str, of_all_signals: bool) -> Option<Url> {
    let mut url = Url::parse(text.trim()).ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    if of_all_signals {
        let path = format!("{}/{TRACES_PATH}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Some(url)
}

/// Without what may be a secret: neither query nor user.
fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        Settings::read(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_is_wanted_unless_somebody_says_where() {
        assert_eq!(read(&[]), Settings::Off);
        assert_eq!(read(&[("OTEL_SERVICE_NAME", "etl")]), Settings::Off);
        assert_eq!(
            read(&[(ENDPOINT, "http://collector:4318"), ("OTEL_SDK_DISABLED", "True")]),
            Settings::Off
        );
    }

    #[cfg(not(feature = "otel"))]
    #[test]
    fn a_program_without_it_says_so() {
        let Settings::Refused(why) = read(&[(ENDPOINT, "http://collector:4318")]) else {
            panic!("it must be refused")
        };
        assert!(why.contains(ENDPOINT) && why.contains("--features otel"), "{why}");
    }

    #[cfg(feature = "otel")]
    #[test]
    fn the_address_follows_from_either_variable() {
        let to = |variables: &[(&str, &str)]| match read(variables) {
            Settings::To(url) => url.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(to(&[(ENDPOINT, "http://collector:4318")]), "http://collector:4318/v1/traces");
        assert_eq!(to(&[(ENDPOINT, "https://c.example/otlp/")]), "https://c.example/otlp/v1/traces");
        let both = [(ENDPOINT, "http://a:1"), (TRACES_ENDPOINT, "http://b:2/in")];
        assert_eq!(to(&both), "http://b:2/in");
    }

    #[cfg(feature = "otel")]
    #[test]
    fn what_cannot_work_is_refused_and_keeps_its_secrets() {
        for wrong in ["collector:4318", "grpc://user:secret@collector:4317", "secret"] {
            let Settings::Refused(why) = read(&[(ENDPOINT, wrong)]) else {
                panic!("{wrong} must be refused")
            };
            assert!(why.contains(ENDPOINT) && !why.contains("secret"), "{why}");
        }
        let grpc = [(ENDPOINT, "http://collector:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        let Settings::Refused(why) = read(&grpc) else { panic!("it must be refused") };
        assert!(why.contains("`grpc`") && why.contains("4318"), "{why}");
        let url = Url::parse("https://user:secret@c.example:9/v1/traces?key=secret").unwrap();
        assert_eq!(shown(&url), "https://c.example:9/v1/traces");
    }
}
