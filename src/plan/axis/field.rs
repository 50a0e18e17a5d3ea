//! The fields that an axis is in a case and among the requested values, without their type.

use serde_json::Value;

use super::{Axes, Case};
use crate::plan::PlanError;
use crate::plan::values::AxisValue;

/// The fields of one axis.
pub(super) struct Field<T: 'static> {
    pub of: fn(&Case) -> &T,
    pub of_mut: fn(&mut Case) -> &mut T,
    pub requested: fn(&Axes) -> &Option<Vec<T>>,
    pub requested_mut: fn(&mut Axes) -> &mut Option<Vec<T>>,
    pub usual: fn() -> T,
}

/// [`Field`] without its type.
pub(super) trait AnyField {
    fn takes(&self) -> &'static str;
    fn is_switch(&self) -> bool;
    fn is_list(&self) -> bool;
    fn usual(&self) -> String;
    fn schema(&self) -> Value;
    fn value(&self, case: &Case) -> String;
    fn json(&self, case: &Case) -> Value;
    fn id_part(&self, case: &Case, prefix: &str) -> Option<String>;
    fn copy(&self, to: &mut Case, from: &Case);
    fn read(&self, key: &str, texts: &[String], into: &mut Axes) -> Result<(), PlanError>;
    fn typed(&self, text: &str) -> Result<String, String>;
    fn n_requested(&self, axes: &Axes) -> Option<usize>;
    fn take(&self, to: &mut Axes, from: &mut Axes);
    fn allows(&self, axes: &Axes, case: &Case) -> bool;
    fn multiplied(&self, axes: &Axes, cases: Vec<Case>) -> Vec<Case>;
}

impl<T: AxisValue> AnyField for Field<T> {
    fn takes(&self) -> &'static str {
        T::TAKES
    }

    fn is_switch(&self) -> bool {
        T::IS_SWITCH
    }

    fn is_list(&self) -> bool {
        T::IS_LIST
    }

    fn usual(&self) -> String {
        (self.usual)().shown()
    }

    fn schema(&self) -> Value {
        T::schema()
    }

    fn value(&self, case: &Case) -> String {
        (self.of)(case).shown()
    }

    fn json(&self, case: &Case) -> Value {
        serde_json::to_value((self.of)(case)).expect("a number, a word or a switch")
    }

    fn id_part(&self, case: &Case, prefix: &str) -> Option<String> {
        let value = (self.of)(case);
        (*value != (self.usual)()).then(|| value.in_name(prefix))
    }

    fn copy(&self, to: &mut Case, from: &Case) {
        (self.of_mut)(to).clone_from((self.of)(from));
    }

    fn read(&self, key: &str, texts: &[String], into: &mut Axes) -> Result<(), PlanError> {
        *(self.requested_mut)(into) = Some(T::read(key, texts)?);
        Ok(())
    }

    fn typed(&self, text: &str) -> Result<String, String> {
        let values = T::read("", &[text.to_owned()]).map_err(|e| e.to_string())?;
        match values.as_slice() {
            [one] => Ok(one.shown()),
            _ => Err(format!("'{text}' is not one value")),
        }
    }

    fn n_requested(&self, axes: &Axes) -> Option<usize> {
        (self.requested)(axes).as_ref().map(Vec::len)
    }

    fn take(&self, to: &mut Axes, from: &mut Axes) {
        if let Some(values) = (self.requested_mut)(from).take() {
            *(self.requested_mut)(to) = Some(values);
        }
    }

    fn allows(&self, axes: &Axes, case: &Case) -> bool {
        let requested = (self.requested)(axes).as_ref();
        requested.is_none_or(|values| values.contains((self.of)(case)))
    }

    fn multiplied(&self, axes: &Axes, cases: Vec<Case>) -> Vec<Case> {
        let Some(values) = (self.requested)(axes) else {
            return cases;
        };
        let with = |case: Case| {
            values.iter().map(move |value| {
                let mut case = case.clone();
                (self.of_mut)(&mut case).clone_from(value);
                case
            })
        };
        cases.into_iter().flat_map(with).collect()
    }
}
