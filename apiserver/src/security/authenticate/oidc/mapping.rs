//! From the claims of a verified token to a user: by claims' names or by expressions, and whether the rules let it pass. Pure.

use std::sync::LazyLock;

use serde_json::{Value, json};
use skiff_cel::{Activation, Budget, Environment, Program, Shape, Type};

use crate::security::review::info;
use crate::security::{Invalid, User};

/// How a text is found.
pub enum From {
    /// In a claim, with a prefix.
    Claim {
        /// The claim.
        name: String,
        /// What is put before it.
        prefix: String,
    },
    /// By an expression.
    Expression(Box<Program>),
}

/// A condition and what is said where it does not hold.
pub struct Condition {
    /// The condition.
    pub program: Program,
    /// What is said; the expression itself if empty.
    pub message: String,
}

/// How users are made from claims.
#[derive(Default)]
pub struct Mapping {
    /// The name.
    pub username: Option<From>,
    /// The groups; none if nothing.
    pub groups: Option<From>,
    /// The uid; none if nothing.
    pub uid: Option<From>,
    /// Further facts, each by an expression.
    pub extra: Vec<(String, Program)>,
    /// Claims that must have these values.
    pub required: Vec<(String, String)>,
    /// What must hold of the claims.
    pub claim_rules: Vec<Condition>,
    /// What must hold of the user.
    pub user_rules: Vec<Condition>,
}

static CLAIMS: LazyLock<Environment> =
    LazyLock::new(|| Environment::new().typed("claims", Type::map(Type::String, Type::Dyn)));

static USER: LazyLock<Environment> = LazyLock::new(|| {
    let string = || Shape::of_type(&Type::String);
    let strings = Type::list(Type::String);
    let user = Shape::object(
        "kubernetes.UserInfo",
        [
            ("username", string()),
            ("uid", string()),
            ("groups", Shape::of_type(&strings)),
            ("extra", Shape::of_type(&Type::map(Type::String, strings.clone()))),
        ],
    );
    Environment::new().variable("user", user)
});

/// Compiles an expression over `claims`.
///
/// # Errors
/// What is wrong with it.
pub fn of_claims(expression: &str) -> Result<Program, String> {
    CLAIMS.compile(expression).map_err(|errors| errors.to_string())
}

/// Compiles a condition over `claims`.
///
/// # Errors
/// What is wrong with it.
pub fn claim_condition(expression: &str) -> Result<Program, String> {
    let compiled = CLAIMS.compile_to(expression, &Type::Bool, "must evaluate to bool");
    compiled.map_err(|errors| errors.to_string())
}

/// Compiles a condition over `user`.
///
/// # Errors
/// What is wrong with it.
pub fn user_condition(expression: &str) -> Result<Program, String> {
    let compiled = USER.compile_to(expression, &Type::Bool, "must evaluate to bool");
    compiled.map_err(|errors| errors.to_string())
}

impl Mapping {
    /// The user that claims name.
    ///
    /// # Errors
    /// A claim is missing or of the wrong sort, or a rule does not hold.
    pub fn user(&self, claims: &Value) -> Result<User, Invalid> {
        let mut user = User { name: self.username(claims)?, groups: self.groups(claims)?, ..User::default() };
        user.uid = match &self.uid {
            None => String::new(),
            Some(From::Claim { name, .. }) => text(claims, name)
                .ok_or_else(|| fail(format!("could not get uid: claim {name:?} is not a string")))?,
            Some(From::Expression(program)) => match evaluate(program, "claims", claims, "uid claim")? {
                Value::String(uid) if !uid.is_empty() => uid,
                Value::String(_) => return Err(fail("empty uid via CEL expression is not allowed")),
                _ => {
                    return Err(fail(
                        "error evaluating uid claim expression: uid claim expression must return a string",
                    ));
                }
            },
        };
        for (key, program) in &self.extra {
            let value = evaluate(program, "claims", claims, "extra claim")?;
            let values = strings(&value).ok_or_else(|| {
                fail("error evaluating extra claim expression: extra claim expression must return a string or list of strings")
            })?;
            if !values.is_empty() {
                user.extra.insert(key.clone(), values);
            }
        }
        for (claim, wanted) in &self.required {
            match claims.get(claim) {
                None => return Err(fail(format!("required claim {claim} not present in ID token"))),
                Some(Value::String(got)) if got == wanted => {}
                Some(Value::String(got)) => {
                    return Err(fail(format!(
                        "required claim {claim} value does not match. Got = {got}, want = {wanted}"
                    )));
                }
                Some(_) => return Err(fail(format!("parse claim {claim}: it is not a string"))),
            }
        }
        hold(&self.claim_rules, "claims", claims, "error evaluating claim validation expression")?;
        let shown = if self.user_rules.is_empty() { Value::Null } else { info(&user) };
        hold(&self.user_rules, "user", &shown, "error evaluating user info validation rule")?;
        Ok(user)
    }

    fn username(&self, claims: &Value) -> Result<String, Invalid> {
        match self.username.as_ref().expect("checked when the configuration was read") {
            From::Expression(program) => match evaluate(program, "claims", claims, "username claim")? {
                Value::String(name) if !name.is_empty() => Ok(name),
                Value::String(_) => Err(fail("empty username via CEL expression is not allowed")),
                _ => Err(fail(
                    "error evaluating username claim expression: username claim expression must return a string",
                )),
            },
            From::Claim { name, prefix } => {
                let found = text(claims, name)
                    .ok_or_else(|| fail(format!("parse username claims {name:?}: claim not present")))?;
                let verified = claims.get("email_verified");
                if name == "email" && verified.is_some_and(|verified| verified != &json!(true)) {
                    return Err(match verified {
                        Some(Value::Bool(_)) => fail("email not verified"),
                        _ => fail("parse 'email_verified' claim: it is not a bool"),
                    });
                }
                Ok(format!("{prefix}{found}"))
            }
        }
    }

    fn groups(&self, claims: &Value) -> Result<Vec<String>, Invalid> {
        match &self.groups {
            None => Ok(Vec::new()),
            Some(From::Claim { name, prefix }) => {
                let Some(value) = claims.get(name) else { return Ok(Vec::new()) };
                let groups = strings(value).ok_or_else(|| {
                    fail(format!("parse groups claim {name:?}: it is not a list of strings"))
                })?;
                Ok(groups.into_iter().map(|group| format!("{prefix}{group}")).collect())
            }
            Some(From::Expression(program)) => {
                let value = evaluate(program, "claims", claims, "group claim")?;
                strings(&value).ok_or_else(|| {
                    fail("error evaluating group claim expression: group claim expression must return a string or list of strings")
                })
            }
        }
    }
}

fn fail(why: impl std::fmt::Display) -> Invalid {
    Invalid(format!("oidc: {why}"))
}

fn text(claims: &Value, name: &str) -> Option<String> {
    claims.get(name)?.as_str().map(str::to_owned)
}

/// One text or a list of them; empty texts are left out of a single one.
fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::String(one) if one.is_empty() => Some(Vec::new()),
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(list) => list.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn evaluate(program: &Program, name: &'static str, value: &Value, what: &str) -> Result<Value, Invalid> {
    let mut activation = Activation::new();
    activation.json(name, value);
    program
        .evaluate(&activation, &mut Budget::default())
        .and_then(|found| found.to_json())
        .map_err(|error| fail(format!("error evaluating {what} expression: {error}")))
}

fn hold(rules: &[Condition], name: &'static str, value: &Value, what: &str) -> Result<(), Invalid> {
    for rule in rules {
        if evaluate(&rule.program, name, value, "validation")? != json!(true) {
            let message = match rule.message.as_str() {
                "" => format!("validation expression '{}' failed", rule.program.source()),
                message => format!("validation expression '{}' failed: {message}", rule.program.source()),
            };
            return Err(fail(format!("{what}: {message}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, prefix: &str) -> Option<From> {
        Some(From::Claim { name: name.into(), prefix: prefix.into() })
    }

    fn expression(text: &str) -> Option<From> {
        Some(From::Expression(Box::new(of_claims(text).unwrap())))
    }

    #[test]
    fn claims_name_the_user() {
        let mapping = Mapping {
            username: claim("sub", "oidc:"),
            groups: claim("roles", "g:"),
            uid: claim("sub", ""),
            required: vec![("hd".into(), "example.com".into())],
            ..Mapping::default()
        };
        let claims = json!({"sub": "jane", "roles": ["a", "b"], "hd": "example.com"});
        let user = mapping.user(&claims).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("oidc:jane", "jane"));
        assert_eq!(user.groups, ["g:a", "g:b"]);
        let table = [
            (json!({"sub": "jane"}), "oidc: required claim hd not present in ID token"),
            (
                json!({"sub": "jane", "hd": "other"}),
                "oidc: required claim hd value does not match. Got = other, want = example.com",
            ),
            (json!({"hd": "example.com"}), "oidc: parse username claims \"sub\": claim not present"),
        ];
        for (claims, why) in table {
            assert_eq!(mapping.user(&claims).unwrap_err().0, why);
        }
        let one = json!({"sub": "jane", "roles": "a", "hd": "example.com"});
        assert_eq!(mapping.user(&one).unwrap().groups, ["g:a"]);
    }

    #[test]
    fn an_address_must_be_verified_where_that_is_said() {
        let mapping = Mapping { username: claim("email", ""), ..Mapping::default() };
        let ask = |claims: Value| mapping.user(&claims).map(|user| user.name).map_err(|why| why.0);
        assert_eq!(ask(json!({"email": "j@x"})), Ok("j@x".into()));
        assert_eq!(ask(json!({"email": "j@x", "email_verified": true})), Ok("j@x".into()));
        assert_eq!(
            ask(json!({"email": "j@x", "email_verified": false})),
            Err("oidc: email not verified".into())
        );
    }

    #[test]
    fn expressions_map_and_judge() {
        let mapping = Mapping {
            username: expression("claims.sub + '@' + claims.tenant"),
            groups: expression("claims.roles.filter(r, r.startsWith('k8s-'))"),
            uid: expression("claims.id"),
            extra: vec![("example.com/tenant".into(), of_claims("claims.tenant").unwrap())],
            claim_rules: vec![Condition {
                program: claim_condition("claims.exp - claims.nbf <= 3600").unwrap(),
                message: "it lives too long".into(),
            }],
            user_rules: vec![Condition {
                program: user_condition("!user.username.startsWith('system:')").unwrap(),
                message: "reserved".into(),
            }],
            ..Mapping::default()
        };
        let claims = |sub: &str, exp: i64| json!({"sub": sub, "tenant": "t", "id": "7", "roles": ["k8s-a", "b"], "nbf": 0, "exp": exp});
        let user = mapping.user(&claims("jane", 3600)).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane@t", "7"));
        assert_eq!(user.groups, ["k8s-a"]);
        assert_eq!(user.extra["example.com/tenant"], ["t"]);
        let why = mapping.user(&claims("jane", 3601)).unwrap_err().0;
        assert!(why.ends_with("failed: it lives too long"), "{why}");
        let why = mapping.user(&claims("system:x", 0)).unwrap_err().0;
        assert!(why.ends_with("failed: reserved"), "{why}");
        assert!(claim_condition("claims.sub").is_err() || claim_condition("1").is_err());
    }
}
