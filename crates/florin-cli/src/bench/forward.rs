//! Cases of one system called with inputs that are ready: nothing is read, cut or resized.

use std::rc::Rc;

use anyhow::Context;
use florin_models::{Inputs, System};

use super::case::{Case, ids, pixels};
use super::timing::timed;
use super::{Bench, Measured};

/// Calls of a system.
pub(crate) fn measure(bench: &Bench<'_>, case: Case) -> anyhow::Result<Measured> {
    let system: Rc<dyn System> = Rc::from(bench.system(case)?);
    let device = &bench.device;
    let texts = |rows: usize, seq: usize| Inputs::new(device).whole("input_ids", &[rows, seq], ids(rows * seq));
    let (items, unit, inputs) = match case {
        Case::BertBase8 => (8, "texts", texts(8, 128)),
        Case::BertBase1 => (1, "texts", texts(1, 128)),
        Case::MiniLm => (32, "texts", texts(32, 32)),
        _ => {
            let shape = [4, 3, 224, 224];
            (4, "pictures", Inputs::new(device).floats("pixel_values", &shape, pixels(shape.iter().product())))
        }
    };
    let (laps, last) = timed(bench.seconds, &mut || {
        let outputs = system.forward(&inputs)?;
        let states = outputs.get("last_hidden_state");
        // Reading the numbers waits for a device that works on its own.
        Ok(states.with_context(|| format!("{}: the model gives no last_hidden_state", case.name()))?.values.to_data())
    })?;
    let values = last.convert::<f32>().try_to_vec::<f32>().context("the model's output cannot be read")?;
    Ok(Measured::new(case, items, unit, laps, &values))
}
