//! What an expression refers to, looked at when the machine is made: the service refuses expressions that read a
//! context item (there is none), or a member of `$states` that does not exist where they stand.
//!
//! Whether a variable has a value is known only when the state is run.

use std::collections::BTreeSet;

use jsonata_core::ast::{AstNode, PathStep, Stage};
use jsonata_core::value::with_stack;

use crate::states::variables::RESERVED;

/// Members of `$states` that only some fields have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::states) struct Offered {
    /// `$states.result`: `Output` and `Assign` of Task, Parallel and Map states.
    pub result: bool,
    /// `$states.errorOutput`: `Output` and `Assign` of catchers.
    pub error: bool,
}

/// The names behind every `$` of an expression; the error is the first reference that is not supported.
pub(super) fn check(tree: &AstNode, offered: Offered) -> Result<BTreeSet<String>, String> {
    let mut references = References { offered, names: BTreeSet::new() };
    references.visit(tree, false)?;
    Ok(references.names)
}

struct References {
    offered: Offered,
    names: BTreeSet<String>,
}

impl References {
    /// `is_inside` says whether a context item exists: in later steps of a path, in predicates and in sorts.
    fn visit(&mut self, node: &AstNode, is_inside: bool) -> Result<(), String> {
        // Trees are as deep as the parser allows, which is deeper than a small stack.
        with_stack(|| self.visit_level(node, is_inside))
    }

    fn visit_level(&mut self, node: &AstNode, is_inside: bool) -> Result<(), String> {
        match node {
            AstNode::Name(name) if !is_inside => Err(at_the_top(name)),
            AstNode::Variable(name) if name.is_empty() && !is_inside => Err(at_the_top("$")),
            AstNode::ParentVariable(_) => Err("Reference to '$$' is not supported".to_owned()),
            AstNode::Variable(name) => {
                self.names.insert(name.clone());
                Ok(())
            }
            AstNode::Path { steps } => self.path(steps, is_inside),
            AstNode::Function { name, .. } if name == "eval" => {
                Err("the function $eval is not supported by Step Functions: use $parse for JSON".to_owned())
            }
            AstNode::Function { name, args, .. } => {
                self.names.insert(name.clone());
                self.all(args, is_inside)
            }
            AstNode::Call { procedure, args } => {
                self.visit(procedure, is_inside)?;
                self.all(args, is_inside)
            }
            AstNode::Binary { lhs, rhs, .. } => {
                self.visit(lhs, is_inside)?;
                self.visit(rhs, is_inside)
            }
            AstNode::Unary { operand, .. } => self.visit(operand, is_inside),
            AstNode::Lambda { body, .. } => self.visit(body, is_inside),
            AstNode::Array(nodes) | AstNode::ArrayGroup(nodes) | AstNode::Block(nodes) => {
                self.all(nodes, is_inside)
            }
            AstNode::Object(pairs) => self.pairs(pairs, is_inside),
            AstNode::ObjectTransform { input, pattern } => {
                self.visit(input, is_inside)?;
                self.pairs(pattern, true)
            }
            AstNode::Conditional { condition, then_branch, else_branch } => {
                self.visit(condition, is_inside)?;
                self.visit(then_branch, is_inside)?;
                else_branch.iter().try_for_each(|branch| self.visit(branch, is_inside))
            }
            AstNode::FunctionApplication(inner) => self.visit(inner, is_inside),
            AstNode::Sort { input, terms } => {
                self.visit(input, is_inside)?;
                terms.iter().try_for_each(|(term, _)| self.visit(term, true))
            }
            AstNode::Transform { location, update, delete } => {
                self.visit(location, true)?;
                self.visit(update, true)?;
                delete.iter().try_for_each(|delete| self.visit(delete, true))
            }
            AstNode::String(_)
            | AstNode::Name(_)
            | AstNode::Number(_)
            | AstNode::Boolean(_)
            | AstNode::Null
            | AstNode::Undefined
            | AstNode::Placeholder
            | AstNode::Regex { .. }
            | AstNode::Wildcard
            | AstNode::Descendant
            | AstNode::Parent(_) => Ok(()),
        }
    }

    fn path(&mut self, steps: &[PathStep], is_inside: bool) -> Result<(), String> {
        if let [
            PathStep { node: AstNode::Variable(variable), .. },
            PathStep { node: AstNode::Name(member), .. },
            ..,
        ] = steps
            && variable == RESERVED
        {
            let is_offered = match member.as_str() {
                "result" => self.offered.result,
                "errorOutput" => self.offered.error,
                _ => true,
            };
            if !is_offered {
                return Err(format!("Reference to '${RESERVED}.{member}' is not supported in this field"));
            }
        }
        for (index, step) in steps.iter().enumerate() {
            self.visit(&step.node, is_inside || index > 0)?;
            for stage in &step.stages {
                if let Stage::Filter(filter) = stage {
                    self.visit(filter, true)?;
                }
            }
        }
        Ok(())
    }

    fn all(&mut self, nodes: &[AstNode], is_inside: bool) -> Result<(), String> {
        nodes.iter().try_for_each(|node| self.visit(node, is_inside))
    }

    fn pairs(&mut self, pairs: &[(AstNode, AstNode)], is_inside: bool) -> Result<(), String> {
        pairs.iter().try_for_each(|(name, value)| {
            self.visit(name, is_inside)?;
            self.visit(value, is_inside)
        })
    }
}

fn at_the_top(what: &str) -> String {
    format!("Reference to '{what}' at the top level is not supported: the input is ${RESERVED}.input")
}
