//! Tokens in a file (`--token-auth-file`): one a line, `token,user,uid,"group1,group2"`.
//!
//! Read once at start. As upstream's `tokenfile`: a line with fewer than three columns is an error, an empty token is passed over, of
//! two equal ones the last counts.

use std::collections::HashMap;
use std::path::Path;

use super::{Authenticated, Question, TokenAuthenticator};
use crate::security::{Invalid, User};

/// The tokens of a file.
#[derive(Debug, Default)]
pub struct TokenFile(HashMap<String, User>);

impl TokenFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or a line has fewer than three columns.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| anyhow::anyhow!("open {}: {error}", path.display()))?;
        Self::parse(&text, &path.display().to_string()).map_err(anyhow::Error::from)
    }

    /// Reads text; `name` is told in errors.
    ///
    /// # Errors
    /// A line has fewer than three columns, or a quote does not end.
    pub fn parse(text: &str, name: &str) -> Result<Self, Invalid> {
        let mut tokens = HashMap::new();
        for (at, record) in records(text)?.into_iter().enumerate() {
            let [token, user, uid, rest @ ..] = record.as_slice() else {
                return Err(Invalid(format!(
                    "token file '{name}' must have at least 3 columns (token, user name, user uid), found {}",
                    record.len()
                )));
            };
            if token.is_empty() {
                let number = at + 1;
                tracing::warn!("empty token has been found in token file '{name}', record number '{number}'");
                continue;
            }
            let groups = rest.first().map(|groups| groups.split(',').map(str::to_owned).collect());
            let user = User {
                name: user.clone(),
                uid: uid.clone(),
                groups: groups.unwrap_or_default(),
                ..User::default()
            };
            if tokens.insert(token.clone(), user).is_some() {
                let number = at + 1;
                tracing::warn!(
                    "duplicate token has been found in token file '{name}', record number '{number}'"
                );
            }
        }
        Ok(Self(tokens))
    }
}

#[async_trait::async_trait]
impl TokenAuthenticator for TokenFile {
    async fn token(&self, asked: &Question<'_>) -> Result<Option<Authenticated>, Invalid> {
        let Some(user) = self.0.get(asked.token) else { return Ok(None) };
        Ok(asked.whatever_the_audience(user.clone()))
    }
}

/// The records of comma-separated values: quotes may hold commas, line ends and doubled quotes; empty lines are none.
fn records(text: &str) -> Result<Vec<Vec<String>>, Invalid> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            c if quoted => field.push(c),
            ',' => record.push(std::mem::take(&mut field)),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' if record.is_empty() && field.is_empty() => {}
            '\n' => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            c => field.push(c),
        }
    }
    if quoted {
        return Err(Invalid("a quote in the token file does not end".into()));
    }
    if !record.is_empty() || !field.is_empty() {
        record.push(field);
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_token_its_user_uid_and_groups() {
        let text = "t1,jane,u1\n\nt2,joe,u2,\"dev,ops\"\r\n,nobody,u\nt3,\"a \"\"b\"\"\",,one\n";
        let file = TokenFile::parse(text, "f").unwrap();
        let user = |token: &str| file.0.get(token).map(|user| (user.name.as_str(), user.groups.clone()));
        assert_eq!(user("t1"), Some(("jane", vec![])));
        assert_eq!(user("t2"), Some(("joe", vec!["dev".into(), "ops".into()])));
        assert_eq!(user("t3"), Some(("a \"b\"", vec!["one".into()])));
        assert_eq!(file.0.len(), 3);
    }

    #[test]
    fn a_line_that_says_too_little_is_refused() {
        let why = TokenFile::parse("t,jane\n", "f").unwrap_err().0;
        assert_eq!(why, "token file 'f' must have at least 3 columns (token, user name, user uid), found 2");
        assert!(TokenFile::parse("t,\"jane,u\n", "f").is_err());
    }
}
