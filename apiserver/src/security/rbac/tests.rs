use super::super::MASTERS;
use super::escalation::covers;
use super::*;
use serde_json::json;

fn role(namespace: &str, name: &str, rules: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
    json!({"kind": kind, "metadata": {"namespace": namespace, "name": name}, "rules": rules})
}

fn binding(namespace: &str, name: &str, role: (&str, &str), subject: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    json!({"kind": kind, "metadata": {"namespace": namespace, "name": name},
        "roleRef": {"apiGroup": GROUP, "kind": role.0, "name": role.1}, "subjects": [subject]})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "name": name})
}

fn pods(user: &User) -> Attributes<'_> {
    Attributes {
        user,
        verb: "get",
        resource: "pods",
        namespace: "a",
        resource_request: true,
        ..Attributes::default()
    }
}

#[test]
fn rules_match_as_upstream_matches() {
    let rule = |value: Value| Rule::of(&value);
    let get = |resource: &'static str| json!({"verbs": ["get"], "apiGroups": [""], "resources": [resource]});
    let nobody = User::default();
    let base = pods(&nobody);
    let log = Attributes { subresource: "log", ..base };
    let path = |path| Attributes { path, resource_request: false, ..base };
    let url = |url: &str| json!({"verbs": ["get"], "nonResourceURLs": [url]});
    let table = [
        (get("pods"), base, true),
        (get("pods"), log, false),
        (get("pods/log"), log, true),
        (get("pods/log"), base, false),
        (get("*/log"), log, true),
        (get("*/log"), base, false),
        (get("*"), log, true),
        (get("pods"), Attributes { group: "apps", ..base }, false),
        (get("pods"), Attributes { verb: "list", ..base }, false),
        (json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}), log, true),
        (json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}), path("/metrics"), false),
        (
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]}),
            base,
            false,
        ),
        (
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]}),
            Attributes { name: "x", ..base },
            true,
        ),
        (url("/healthz"), path("/healthz"), true),
        (url("/healthz"), path("/healthz/x"), false),
        (url("/api/*"), path("/api/v1"), true),
        (url("/api/*"), path("/api"), false),
        (url("*"), path("/x"), true),
        (url("*"), base, false),
    ];
    for (object, attributes, expected) in table {
        assert_eq!(rule(object.clone()).allows(&attributes), expected, "{object} {attributes:?}");
    }
}

#[test]
fn a_role_binding_gives_a_cluster_role_in_its_namespace_only() {
    let index = Rbac::build(&[
        role("", "reader", json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}])),
        binding("a", "b", ("ClusterRole", "reader"), json!({"kind": "ServiceAccount", "name": "sa"})),
    ]);
    let account = User::new("system:serviceaccount:a:sa", &[]);
    assert!(index.authorize(&pods(&account)).is_allowed());
    assert!(!index.authorize(&Attributes { namespace: "b", ..pods(&account) }).is_allowed());
    assert!(!index.authorize(&Attributes { namespace: "", ..pods(&account) }).is_allowed());
}

#[test]
fn changes_take_effect_one_by_one() {
    let reader = role("", "r", json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]));
    let bound = binding("", "b", ("ClusterRole", "r"), user("x"));
    let other = binding("", "b", ("ClusterRole", "r"), user("y"));
    let (x, y) = (User::new("x", &[]), User::new("y", &[]));
    let mut index = Rbac::default();
    let seen =
        |index: &Rbac| (index.authorize(&pods(&x)).is_allowed(), index.authorize(&pods(&y)).is_allowed());
    index.update("ClusterRoleBinding", None, Some(&bound));
    assert_eq!(seen(&index), (false, false));
    index.update("ClusterRole", None, Some(&reader));
    assert_eq!(seen(&index), (true, false));
    index.update("ClusterRoleBinding", Some(&bound), Some(&other));
    assert_eq!(seen(&index), (false, true));
    index.update("ClusterRoleBinding", Some(&other), None);
    assert_eq!(seen(&index), (false, false));
    assert!(index.users.is_empty());
}

#[test]
fn aggregated_roles_follow_the_roles_that_they_select() {
    let select = |label: &str| json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    let top = json!({"kind": "ClusterRole", "metadata": {"name": "top"}, "aggregationRule": select("top")});
    let middle = json!({"kind": "ClusterRole", "metadata": {"name": "middle", "labels": {"top": "true"}},
        "aggregationRule": select("middle"), "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
    let mut leaf = role("", "leaf", json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]));
    leaf["metadata"]["labels"] = json!({"middle": "true"});
    let mut index = Rbac::build(&[top, middle, binding("", "b", ("ClusterRole", "top"), user("x"))]);
    let x = User::new("x", &[]);
    assert!(!index.authorize(&pods(&x)).is_allowed());
    index.update("ClusterRole", None, Some(&leaf));
    assert!(index.authorize(&pods(&x)).is_allowed());
    assert_eq!(index.aggregated("top").unwrap()[0]["resources"], json!(["pods"]));
    index.update("ClusterRole", Some(&leaf), None);
    assert!(!index.authorize(&pods(&x)).is_allowed());
}

#[test]
fn rights_are_covered_piece_by_piece() {
    let rule = |verbs: &[&str], resources: &[&str], names: &[&str]| {
        Rule::of(&json!({"verbs": verbs, "apiGroups": [""], "resources": resources, "resourceNames": names}))
    };
    let table = [
        (
            vec![rule(&["get"], &["pods"], &[]), rule(&["list"], &["pods"], &[])],
            rule(&["get", "list"], &["pods"], &[]),
            true,
        ),
        (vec![rule(&["*"], &["*"], &[])], rule(&["get"], &["pods/log"], &["x"]), true),
        (vec![rule(&["get"], &["pods"], &["x"])], rule(&["get"], &["pods"], &[]), false),
        (vec![rule(&["get"], &["pods"], &["x"])], rule(&["get"], &["pods"], &["x"]), true),
        (vec![rule(&["get"], &["pods"], &["x"])], rule(&["get"], &["pods"], &["x", "y"]), false),
        (vec![rule(&["get"], &["*/log"], &[])], rule(&["get"], &["pods/log"], &[]), true),
        (vec![rule(&["get"], &["pods"], &[])], rule(&["*"], &["pods"], &[]), false),
        (vec![rule(&["get"], &["pods"], &[])], rule(&["get"], &["*"], &[]), false),
        (vec![], rule(&["get"], &["pods"], &[]), false),
    ];
    for (owner, wanted, expected) in table {
        assert_eq!(covers(&owner, std::slice::from_ref(&wanted)).0, expected, "{owner:?} {wanted:?}");
    }
}

#[test]
fn no_one_grants_what_they_do_not_hold() {
    let get_pods = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    let index = Rbac::build(&[
        role("", "reader", get_pods.clone()),
        role("", "boss", json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])),
        role(
            "",
            "binder",
            json!([{"verbs": ["bind"], "apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["boss"]}]),
        ),
        binding("", "b", ("ClusterRole", "reader"), user("x")),
        binding("", "c", ("ClusterRole", "binder"), user("z")),
    ]);
    let check = |who: &User, object: &Value| {
        index.check_escalation(who, text(object, "/kind"), None, object).map_err(|status| status.message)
    };
    let x = User::new("x", &["g"]);
    assert!(check(&x, &role("a", "r", get_pods)).is_ok());
    assert!(check(&x, &binding("a", "n", ("ClusterRole", "reader"), user("y"))).is_ok());
    let more = role(
        "a",
        "r",
        json!([{"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods", "secrets"]}]),
    );
    assert_eq!(
        check(&x, &more).unwrap_err(),
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"x\" (groups=[\"g\"]) is attempting to grant RBAC \
         permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"delete\" \"get\"]}"
    );
    let boss = binding("", "n", ("ClusterRole", "boss"), user("x"));
    assert!(check(&x, &boss).is_err());
    assert!(check(&User::new("z", &[]), &boss).is_ok());
    assert!(check(&User::new("a", &[MASTERS]), &boss).is_ok());
    let aggregate = json!({"kind": "ClusterRole", "metadata": {"name": "n"}, "aggregationRule": {}});
    assert!(check(&x, &aggregate).is_err());
    let mut marked = more.clone();
    marked["metadata"]["finalizers"] = json!(["f"]);
    assert!(index.check_escalation(&x, "Role", Some(&more), &marked).is_ok());
}

/// The plainest reading of the rules: walk every binding, every subject, every rule. Written apart from the index.
fn naive(objects: &[Value], asked: &Attributes<'_>) -> bool {
    let strings = |value: &Value, key: &str| -> Vec<String> {
        value[key]
            .as_array()
            .map(|list| list.iter().map(|one| one.as_str().unwrap().to_owned()).collect())
            .unwrap_or_default()
    };
    let combined = if asked.subresource.is_empty() {
        asked.resource.to_owned()
    } else {
        format!("{}/{}", asked.resource, asked.subresource)
    };
    objects.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("Binding")).any(|bound| {
        let cluster = bound["kind"] == "ClusterRoleBinding";
        let namespace = bound["metadata"]["namespace"].as_str().unwrap();
        if !cluster && namespace != asked.namespace {
            return false;
        }
        let subject = &bound["subjects"][0];
        let name = subject["name"].as_str().unwrap();
        let meant = match subject["kind"].as_str().unwrap() {
            "User" => asked.user.name == name,
            "Group" => asked.user.groups.contains(&name.to_owned()),
            _ => asked.user.name == format!("system:serviceaccount:{namespace}:{name}"),
        };
        meant
            && objects.iter().any(|role| {
                role["kind"] == bound["roleRef"]["kind"]
                    && role["metadata"]["name"] == bound["roleRef"]["name"]
                    && (role["kind"] == "ClusterRole" || role["metadata"]["namespace"] == namespace)
                    && role["rules"].as_array().unwrap().iter().any(|rule| {
                        let any = |key: &str, one: &str| {
                            strings(rule, key).iter().any(|own| own == one || own == "*")
                        };
                        any("verbs", asked.verb)
                            && any("apiGroups", asked.group)
                            && strings(rule, "resources").iter().any(|own| {
                                own == "*"
                                    || *own == combined
                                    || (!asked.subresource.is_empty()
                                        && *own == format!("*/{}", asked.subresource))
                            })
                            && (strings(rule, "resourceNames").is_empty()
                                || strings(rule, "resourceNames").contains(&asked.name.to_owned()))
                    })
            })
    })
}

#[test]
fn the_index_agrees_with_a_plain_walk() {
    use rand::{Rng, SeedableRng, seq::IndexedRandom};
    let seed: u64 = rand::random();
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let (mut allowed, mut refused) = (0, 0);
    for round in 0..400 {
        let mut pick = |from: &[&'static str]| -> &'static str { from.choose(&mut random).unwrap() };
        let mut objects = Vec::new();
        for number in 0..6 {
            let scope = pick(&["", "a", "b"]);
            let names: Vec<&str> =
                [pick(&["", "", "n"])].into_iter().filter(|name| !name.is_empty()).collect();
            let rule = json!({"verbs": [pick(&["get", "list", "*"])], "apiGroups": [pick(&["", "apps", "*"])],
                "resources": [pick(&["pods", "pods/log", "*/log", "*", "jobs"])], "resourceNames": names});
            objects.push(role(scope, &format!("r{}", number % 3), json!([rule])));
        }
        // One name, one object: the later of two would replace the earlier in the API too.
        let mut seen = BTreeSet::new();
        objects.retain(|object| seen.insert((object["kind"].to_string(), object["metadata"].to_string())));
        for number in 0..5 {
            let scope = pick(&["", "a", "b"]);
            let kind = if scope.is_empty() { "ClusterRole" } else { pick(&["Role", "ClusterRole"]) };
            let subject = match pick(&["User", "Group", "ServiceAccount"]) {
                "ServiceAccount" if scope.is_empty() => user("u"),
                "User" => user(pick(&["u", "v"])),
                kind => json!({"kind": kind, "name": pick(&["g", "sa"])}),
            };
            objects.push(binding(scope, &format!("b{number}"), (kind, pick(&["r0", "r1", "r2"])), subject));
        }
        let index = Rbac::build(&objects);
        let mut grown = Rbac::default();
        for object in &objects {
            grown.update(text(object, "/kind"), None, Some(object));
        }
        let users =
            [User::new("u", &["g"]), User::new("v", &[]), User::new("system:serviceaccount:a:sa", &["g"])];
        for who in &users {
            for _ in 0..20 {
                let asked = Attributes {
                    verb: pick(&["get", "list", "delete"]),
                    group: pick(&["", "apps"]),
                    resource: pick(&["pods", "jobs"]),
                    subresource: pick(&["", "log"]),
                    namespace: pick(&["", "a", "b"]),
                    name: pick(&["", "n", "m"]),
                    ..pods(who)
                };
                let expected = naive(&objects, &asked);
                *if expected { &mut allowed } else { &mut refused } += 1;
                assert_eq!(
                    index.authorize(&asked).is_allowed(),
                    expected,
                    "seed {seed} round {round}: {asked:?}"
                );
                assert_eq!(
                    grown.authorize(&asked).is_allowed(),
                    expected,
                    "seed {seed} round {round}, grown"
                );
            }
        }
        // What comes must go without a trace.
        for object in &objects {
            grown.update(text(object, "/kind"), Some(object), None);
        }
        assert!(grown.users.is_empty() && grown.groups.is_empty() && grown.roles.is_empty());
        let _ = random.random::<u8>();
    }
    // Some 1,400 of 24,000 are allowed, by the seed a few hundred more or less.
    assert!(allowed > 500 && refused > 500, "the cases must be of both kinds: {allowed} {refused}");
}

#[test]
fn five_thousand_bindings_cost_no_scan() {
    let mut objects =
        vec![role("", "r", json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]))];
    objects.extend((0..5000).map(|number| {
        binding(
            &format!("ns{number}"),
            "b",
            ("ClusterRole", "r"),
            json!({"kind": "Group", "name": "everyone"}),
        )
    }));
    let index = Rbac::build(&objects);
    let user = User::new("x", &["everyone"]);
    let asked = Attributes { namespace: "ns4999", ..pods(&user) };
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        assert!(index.authorize(&asked).is_allowed());
    }
    // The aim is 5 µs in a release build; a scan of all bindings would be a hundred times that.
    assert!(start.elapsed() < std::time::Duration::from_millis(100), "{:?}", start.elapsed());
}
