//! Addresses of state machines and executions. They follow from each other:
//! `arn:aws:states:REGION:ACCOUNT:stateMachine:NAME` and `arn:aws:states:REGION:ACCOUNT:execution:NAME:EXECUTION`.

use crate::operator::{ErrorClass, Failure, Handle};

/// Parts of a machine's ARN without version or alias.
const MACHINE_PARTS: usize = 7;

/// Whether a text is the ARN of a state machine, with or without version or alias.
pub(crate) fn check_machine(arn: &str) -> Result<(), Failure> {
    let parts: Vec<&str> = arn.split(':').collect();
    let whole = (MACHINE_PARTS..=MACHINE_PARTS + 1).contains(&parts.len())
        && parts.iter().all(|part| !part.is_empty());
    if whole && parts[2] == "states" && parts[5] == "stateMachine" {
        return Ok(());
    }
    let message = format!(
        "state_machine: `{arn}` is no ARN of a state machine: write only its name, or \
         arn:aws:states:REGION:ACCOUNT:stateMachine:NAME"
    );
    Err(Failure::new(ErrorClass::Config, message))
}

/// The ARN of the machine of this name.
pub(super) fn machine(region: &str, account: &str, name: &str) -> String {
    let partition = if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    };
    format!("arn:{partition}:states:{region}:{account}:stateMachine:{name}")
}

/// A machine's ARN without version or alias.
pub(super) fn unqualified(arn: &str) -> &str {
    let end = arn.match_indices(':').nth(MACHINE_PARTS - 1).map_or(arn.len(), |(at, _)| at);
    &arn[..end]
}

/// The ARN of an execution of this machine.
pub(crate) fn execution(machine: &str, name: &str) -> Option<String> {
    let (account, machine) = unqualified(machine).split_once(":stateMachine:")?;
    Some(format!("{account}:execution:{machine}:{name}"))
}

/// The machine's name, as people say it.
pub(super) fn short(machine: &str) -> &str {
    machine.split_once(":stateMachine:").map_or(machine, |(_, name)| name)
}

/// The machine of an execution.
pub(super) fn machine_of_handle(handle: &Handle) -> &str {
    handle.detail["state_machine"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_from_each_other() {
        let arn = machine("eu-central-1", "123456789012", "etl");
        assert_eq!(arn, "arn:aws:states:eu-central-1:123456789012:stateMachine:etl");
        assert_eq!(machine("cn-north-1", "1", "m"), "arn:aws-cn:states:cn-north-1:1:stateMachine:m");
        assert_eq!(
            machine("us-gov-west-1", "1", "m"),
            "arn:aws-us-gov:states:us-gov-west-1:1:stateMachine:m"
        );
        let alias = format!("{arn}:PROD");
        assert_eq!(unqualified(&alias), arn);
        assert_eq!(unqualified(&arn), arn);
        let expected = "arn:aws:states:eu-central-1:123456789012:execution:etl:e-1";
        assert_eq!(execution(&alias, "e-1").as_deref(), Some(expected));
        assert_eq!((short(&alias), short("etl")), ("etl:PROD", "etl"));
    }

    #[test]
    fn other_arns_are_refused() {
        assert!(check_machine("arn:aws:states:r:1:stateMachine:m:2").is_ok());
        for wrong in [
            "arn:aws:states:r:1:execution:m:e",
            "arn:aws:states:r:1:stateMachine",
            "arn:aws:states:r::stateMachine:m",
            "arn:aws:lambda:r:1:stateMachine:m",
            "arn:aws:states:r:1:stateMachine:m:2:3",
        ] {
            assert!(check_machine(wrong).unwrap_err().message.contains("no ARN"), "{wrong}");
        }
    }
}
