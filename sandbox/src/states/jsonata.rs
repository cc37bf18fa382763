//! `JSONata` expressions in `{% … %}`: reading one when a machine is made, evaluating it when its state is run.
//! <https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html>
//!
//! The language itself is the crate's ([`jsonata_core`]); here stands what Step Functions makes of it: what an
//! expression may refer to ([`references`]), the service's own functions ([`functions`]), what its result may be
//! ([`values`]) and how far it may run. Which fields take expressions is the definition's business.

mod functions;
mod references;
mod values;

use std::collections::BTreeSet;

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Context, Evaluator, EvaluatorError, EvaluatorOptions};
use jsonata_core::parser;
use jsonata_core::value::JValue;
use serde_json::Value;

pub(super) use self::references::Offered;
use super::failure::Failure;
use super::scope::Scope;
use super::variables::RESERVED;

/// How long one expression may be evaluated, in milliseconds. What takes longer has no end; real ones take
/// less than one. A single function over a single value is looked at only when it is done.
const TIME_MAX: u64 = 2_000;
/// How deep evaluation may nest: a function that calls itself takes about three levels for each call.
const DEPTH_MAX: usize = 500;
/// The most members of a list that an expression makes.
const LENGTH_MAX: usize = 1_000_000;
/// How much of a value is shown in a cause, in characters.
const SHOWN_MAX: usize = 200;

/// An expression that was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Query {
    /// As it is written between the delimiters.
    text: String,
    /// The field in its state, as causes name it: `Output/total`, `Choices[1]/Condition`.
    field: String,
    tree: AstNode,
    /// Every name that stands behind a `$`.
    names: BTreeSet<String>,
}

/// What stands between `{%` and `%}`; `None` for a text that is taken as it is written.
///
/// # Errors
///
/// A text with one delimiter only: the service refuses what is opened or closed improperly.
pub(super) fn delimited(text: &str) -> Result<Option<&str>, String> {
    let opened = text.strip_prefix("{%");
    let closed = opened.and_then(|rest| rest.strip_suffix("%}"));
    match closed {
        Some(inside) => Ok(Some(inside.trim())),
        None if opened.is_some() || text.ends_with("%}") => {
            Err(format!("`{text}` must begin with {{% and end with %}} to be an expression"))
        }
        None => Ok(None),
    }
}

impl Query {
    /// Reads an expression of a field, given without its delimiters; the error says what is wrong.
    pub(super) fn parse(text: &str, field: &str, offered: Offered) -> Result<Self, String> {
        let tree =
            parser::parse(text).map_err(|error| format!("`{text}` is no JSONata expression: {error}"))?;
        let names = references::check(&tree, offered)?;
        Ok(Self { text: text.to_owned(), field: field.to_owned(), tree, names })
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// `States.QueryEvaluationError` with the field and the expression, also where there is no value.
    pub(super) fn evaluate(&self, scope: Scope<'_>) -> Result<Value, Failure> {
        let result = self.run(scope).map_err(|error| {
            self.failure(&format!("threw an error during evaluation. {}", error.message()))
        })?;
        if result.is_undefined() {
            return Err(self.failure("returned nothing (undefined)."));
        }
        values::json(&result).map_err(|what| self.failure(&what))
    }

    /// The value of an expression that must be of one kind.
    ///
    /// # Errors
    ///
    /// As [`Self::evaluate`], and if `take` gives nothing: the value is not what `expected` says.
    pub(super) fn evaluate_as<T>(
        &self,
        scope: Scope<'_>,
        expected: &str,
        take: fn(&Value) -> Option<T>,
    ) -> Result<T, Failure> {
        let value = self.evaluate(scope)?;
        take(&value).ok_or_else(|| {
            let shown: String = value.to_string().chars().take(SHOWN_MAX).collect();
            let kind = values::kind(&value);
            self.failure(&format!(
                "returned an unexpected result type. Expected '{expected}', but was '{kind}' for value: {shown}"
            ))
        })
    }

    /// The field in its state.
    pub(super) fn field(&self) -> &str {
        &self.field
    }

    fn run(&self, scope: Scope<'_>) -> Result<JValue, EvaluatorError> {
        let mut context = Context::new();
        for name in &self.names {
            if name == RESERVED {
                context.bind(name.clone(), values::states(scope));
            } else if let Some(value) = scope.variables.get(name) {
                context.bind(name.clone(), JValue::from(value.clone()));
            } else if name == "now" {
                context.bind(name.clone(), functions::now(scope.now)?);
            }
        }
        let limits = EvaluatorOptions {
            timeout_ms: Some(TIME_MAX),
            max_stack_depth: Some(DEPTH_MAX),
            max_sequence_length: Some(LENGTH_MAX),
            cancel: None,
        };
        let mut evaluator = Evaluator::with_options(context, limits);
        functions::register(&mut evaluator, scope.dice.of_field(&self.field), scope.now)?;
        // There is no context item: the input is a member of $states.
        evaluator.evaluate(&self.tree, &JValue::Undefined)
    }

    fn failure(&self, what: &str) -> Failure {
        let Self { text, field, .. } = self;
        Failure::query(
            field,
            format!("The JSONata expression '{text}' specified for the field '{field}' {what}"),
        )
    }
}

#[cfg(test)]
mod tests;
