//! Functions that DataFusion lacks, or that mean something else in the dialect of a session.

mod own;
mod spark;
mod trino;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::prelude::SessionContext;

use super::context::Dialect;

pub(crate) use own::NAMES as OWN;

/// Adds the dialect's functions to a context.
pub(super) fn register(context: &SessionContext, dialect: Dialect) {
    match dialect {
        Dialect::Spark => spark::register(context),
        Dialect::Trino => trino::register(context),
        Dialect::Transform => {
            trino::register(context);
            own::register(context);
        }
    }
}

/// A function of arrays, all of the same length.
type Body = fn(&[ArrayRef]) -> Result<ArrayRef>;

/// A function whose result type does not depend on its arguments.
#[derive(Debug)]
struct Plain {
    name: &'static str,
    signature: Signature,
    result: ResultType,
    body: Body,
}

/// What a function gives.
#[derive(Debug)]
enum ResultType {
    Fixed(DataType),
    /// What the argument at this place is.
    SameAs(usize),
}

impl Plain {
    /// A function for each of the given lists of argument types; other arguments are converted if they can be.
    fn fixed(name: &'static str, arguments: &[&[DataType]], result: DataType, body: Body) -> ScalarUDF {
        Self::made(name, arguments, ResultType::Fixed(result), body)
    }

    /// The same, giving what its argument at a place is.
    fn same_as(name: &'static str, arguments: &[&[DataType]], place: usize, body: Body) -> ScalarUDF {
        Self::made(name, arguments, ResultType::SameAs(place), body)
    }

    /// A function of any number of arguments of one type.
    fn variadic(name: &'static str, argument: DataType, result: DataType, body: Body) -> ScalarUDF {
        let signature = Signature::variadic(vec![argument], Volatility::Immutable);
        ScalarUDF::new_from_impl(Self { name, signature, result: ResultType::Fixed(result), body })
    }

    fn made(name: &'static str, arguments: &[&[DataType]], result: ResultType, body: Body) -> ScalarUDF {
        // A time of any precision is taken as it is: converting it is left to the body.
        let precise = |unit: TimeUnit| {
            arguments.iter().map(move |types| {
                types
                    .iter()
                    .map(|one| match one {
                        DataType::Timestamp(_, zone) => DataType::Timestamp(unit, zone.clone()),
                        other => other.clone(),
                    })
                    .collect::<Vec<_>>()
            })
        };
        let mut exact: Vec<TypeSignature> = Vec::new();
        for unit in [TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond, TimeUnit::Second] {
            for types in precise(unit) {
                let one = TypeSignature::Exact(types);
                if !exact.contains(&one) {
                    exact.push(one);
                }
            }
        }
        let signature = Signature::one_of(exact, Volatility::Immutable);
        ScalarUDF::new_from_impl(Self { name, signature, result, body })
    }
}

// A session has one function of each name.
impl PartialEq for Plain {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.signature == other.signature
    }
}

impl Eq for Plain {}

impl Hash for Plain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Plain {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match &self.result {
            ResultType::Fixed(result) => Ok(result.clone()),
            ResultType::SameAs(place) => arguments
                .get(*place)
                .cloned()
                .ok_or_else(|| DataFusionError::Plan(format!("{} needs {} arguments", self.name, place + 1))),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { arguments.number_rows };
        let arrays = arguments
            .args
            .iter()
            .map(|argument| argument.to_array(rows))
            .collect::<Result<Vec<ArrayRef>>>()?;
        let result = (self.body)(&arrays)?;
        if scalar {
            let first = datafusion::scalar::ScalarValue::try_from_array(&result, 0)?;
            return Ok(ColumnarValue::Scalar(first));
        }
        Ok(ColumnarValue::Array(Arc::clone(&result)))
    }
}
