//! Where a list goes on: upstream's continue token, so that clients may even change servers. Pure.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use serde::{Deserialize, Serialize};
use skiff_storage::Revision;

const VERSION: &str = "meta.k8s.io/v1";
/// Like Go's: bits left over at the end do no harm.
const BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

/// What a token says.
#[derive(Debug, PartialEq, Eq)]
pub struct From {
    /// The last key that was shown, below the list's prefix.
    pub key: String,
    /// The list's revision; negative for the present.
    pub revision: i64,
}

/// A token that goes on behind `key` at a revision.
pub fn encode(key: &str, revision: Revision) -> String {
    write(key, i64::try_from(revision).unwrap_or(-1))
}

/// A token that goes on behind `key` in the present.
pub fn present(key: &str) -> String {
    write(key, -1)
}

fn write(key: &str, rv: i64) -> String {
    let token = Token { v: VERSION.into(), rv, start: format!("{key}\0") };
    BASE64.encode(serde_json::to_vec(&token).expect("a token is plain data"))
}

/// Reads a token; the error is upstream's.
pub fn decode(text: &str) -> Result<From, String> {
    let bad = "continue key is not valid";
    let bytes = BASE64.decode(text).map_err(|error| {
        use base64::DecodeError::{InvalidByte, InvalidLastSymbol, InvalidLength, InvalidPadding};
        let at = match error {
            InvalidByte(at, _) | InvalidLastSymbol(at, _) => at,
            InvalidLength(length) => length.saturating_sub(1),
            InvalidPadding => text.len(),
        };
        format!("{bad}: illegal base64 data at input byte {at}")
    })?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|error| {
        let why = skiff_api::go_json::syntax_error(&bytes).unwrap_or_else(|| error.to_string());
        format!("{bad}: {why}")
    })?;
    if token.v != VERSION {
        return Err(format!("{bad}: server does not recognize this encoded version {}", token.v));
    }
    if token.rv == 0 {
        return Err(format!("{bad}: incorrect encoded start resourceVersion (version {VERSION})"));
    }
    if token.start.is_empty() {
        return Err(format!("{bad}: encoded start key empty (version {VERSION})"));
    }
    // The key must not lead out of the prefix that it is appended to.
    let key = token.start.trim_start_matches('/').trim_end_matches('\0');
    if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!("{bad}: {}", token.start));
    }
    Ok(From { key: key.to_owned(), revision: token.rv })
}

#[cfg(test)]
#[path = "../../../api/tests/fuzz/mutate.rs"]
mod mutate;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of an almost good token can be written and read again. `make fuzz` gives it time.
    #[test]
    fn fuzz_tokens() {
        let good = [encode("default/a", 7), present("b")];
        let plain = br#"{"v":"meta.k8s.io/v1","rv":5,"start":"a/b\u0000"}"#;
        let seeds = [good[0].as_bytes(), good[1].as_bytes(), &plain[..]];
        super::mutate::run("continue-token", &seeds, &["..", "/", "\\u0000", "-1", "0"], |input| {
            // As it was sent, and as if this were what was encoded.
            for text in [String::from_utf8_lossy(input).into_owned(), BASE64.encode(input)] {
                match decode(&text) {
                    Ok(from) => {
                        if from.key.split('/').any(|part| part == "..") {
                            return Err(format!("{from:?} leads out of its list"));
                        }
                        let again = decode(&write(&from.key, from.revision));
                        if again.as_ref() != Ok(&from) {
                            return Err(format!("{from:?} became {again:?}"));
                        }
                    }
                    Err(why) if why.is_empty() => return Err("a refusal says nothing".into()),
                    Err(_) => {}
                }
            }
            Ok(())
        });
    }

    #[test]
    fn tokens_come_back_and_bad_ones_are_told_in_upstreams_words() {
        let token = encode("default/a", 7);
        assert_eq!(decode(&token), Ok(From { key: "default/a".into(), revision: 7 }));
        assert_eq!(decode(&present("a")).unwrap().revision, -1);
        let raw = |json: &str| BASE64.encode(json);
        for (token, why) in [
            ("!x".to_owned(), "continue key is not valid: illegal base64 data at input byte 0"),
            (
                token[..token.len() / 2 / 4 * 4].to_owned(),
                "continue key is not valid: unexpected end of JSON input",
            ),
            (
                raw(r#"{"v":"v2","rv":1,"start":"a"}"#),
                "continue key is not valid: server does not recognize this encoded version v2",
            ),
            (
                raw(r#"{"v":"meta.k8s.io/v1","start":"a"}"#),
                "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (
                raw(r#"{"v":"meta.k8s.io/v1","rv":1}"#),
                "continue key is not valid: encoded start key empty (version meta.k8s.io/v1)",
            ),
            (
                raw(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/"}"#),
                "continue key is not valid: ../secrets/",
            ),
        ] {
            assert_eq!(decode(&token), Err(why.to_owned()), "{token}");
        }
    }
}
