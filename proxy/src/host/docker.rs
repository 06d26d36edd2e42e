//! Rules in Docker's `DOCKER-USER` chain, so that it does not drop traffic between bridges or from outside to pods.
//!
//! Docker keeps that chain when it starts. But when it starts anew it puts its isolation of bridges before it, so that
//! cross-bridge traffic is dropped; then a jump of ours goes to the head of `FORWARD`.

use super::run;
use crate::error::{Error, Result};
use crate::net::Cidr;

/// Docker's chain for the rules of others; what it does not accept, Docker drops between bridges.
const CHAIN: &str = "DOCKER-USER";

/// Where Docker jumps from.
const FORWARD: &str = "FORWARD";

/// By this comment our own rules are known.
const COMMENT: &str = "skiff";

type Rule = Vec<String>;

/// Puts our rules in place, each once. If there is no Docker yet, it will find its chain made.
pub async fn accept(cluster: Cidr) -> Result<()> {
    // It may exist; if it cannot be made, the rules below say why.
    let _ = iptables("-N", &[CHAIN.to_owned()]).await;
    let wanted: Vec<Rule> = ["-s", "-d"].iter().map(|end| accepting(end, cluster)).collect();
    let held = rules(CHAIN).await?;
    for rule in held.iter().filter(|rule| is_ours(rule) && !wanted.contains(rule)) {
        iptables("-D", rule).await?;
    }
    for rule in wanted.iter().filter(|rule| !held.contains(rule)) {
        iptables("-I", rule).await?;
    }
    let forward = rules(FORWARD).await?;
    if is_late(&forward) {
        for rule in forward.iter().filter(|rule| is_ours(rule)) {
            iptables("-D", rule).await?;
        }
        iptables("-I", &jump()).await?;
    }
    Ok(())
}

/// Removes our rules.
pub async fn clean() -> Result<()> {
    for chain in [FORWARD, CHAIN] {
        match rules(chain).await {
            Ok(rules) => {
                for rule in rules.iter().filter(|rule| is_ours(rule)) {
                    iptables("-D", rule).await?;
                }
            }
            // No iptables, or no such chain.
            Err(Error::Start { .. } | Error::Failed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    // The chain is ours if nobody jumps there and nothing is in it; otherwise iptables refuses.
    let _ = iptables("-X", &[CHAIN.to_owned()]).await;
    Ok(())
}

/// Whether Docker decides before it comes to its users' chain.
fn is_late(forward: &[Rule]) -> bool {
    let to = |rule: &Rule| rule.windows(2).find(|pair| pair[0] == "-j").map(|pair| pair[1].clone());
    let mut targets = forward.iter().filter_map(to).filter(|target| target.starts_with("DOCKER"));
    let first = targets.next();
    first.is_some_and(|first| first != CHAIN) && targets.any(|target| target == CHAIN)
}

fn accepting(end: &str, cluster: Cidr) -> Rule {
    let cluster = cluster.to_string();
    [CHAIN, end, &cluster, "-m", "comment", "--comment", COMMENT, "-j", "ACCEPT"].map(str::to_owned).to_vec()
}

fn jump() -> Rule {
    [FORWARD, "-m", "comment", "--comment", COMMENT, "-j", CHAIN].map(str::to_owned).to_vec()
}

fn is_ours(rule: &Rule) -> bool {
    rule.windows(2).any(|pair| pair == ["--comment", COMMENT])
}

/// The rules of a chain, as arguments.
async fn rules(chain: &str) -> Result<Vec<Rule>> {
    let listed = iptables("-S", &[chain.to_owned()]).await?;
    let rules = listed.lines().filter_map(|line| line.strip_prefix("-A "));
    let words = |rule: &str| rule.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect();
    Ok(rules.map(words).collect())
}

async fn iptables(command: &str, arguments: &[String]) -> Result<String> {
    let mut all = vec!["-w", "10", command];
    all.extend(arguments.iter().map(String::as_str));
    run("iptables", &all, None).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_that_isolates_first_is_noticed() {
        let forward = |rules: &[&str]| -> Vec<Rule> {
            rules.iter().map(|rule| rule.split(' ').map(str::to_owned).collect()).collect()
        };
        let (user, isolation) = ("FORWARD -j DOCKER-USER", "FORWARD -j DOCKER-ISOLATION-STAGE-1");
        for (rules, late) in [
            (vec![user, isolation], false),
            (vec![isolation, user], true),
            (vec!["FORWARD -j ufw", isolation, user], true),
            (vec![isolation], false),
            (vec![], false),
        ] {
            assert_eq!(is_late(&forward(&rules)), late, "{rules:?}");
        }
        let ours = jump().join(" ");
        assert!(!is_late(&forward(&[&ours, isolation, user])));
    }
}
