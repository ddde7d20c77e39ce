//! Reading the fixtures that `tests/golden/fixture.py` writes, and comparing results with them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use florin_nn::parameters::{Place, collect};
use florin_train::Gradients;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::de::DeserializeOwned;

use crate::golden_tolerance::{GRADIENT, OUTPUT, Tolerance};

/// The folder of the fixtures.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/fixtures")
}

/// One case.
pub(crate) struct Fixture {
    case: String,
    bytes: Vec<u8>,
    config: serde_json::Value,
}

impl Fixture {
    /// Opens a case and checks that its header is of this format.
    pub(crate) fn open(case: &str) -> Self {
        let path = folder().join(format!("{case}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a fixture is a safetensors file");
        let header = header.metadata().clone().expect("a fixture has a header");
        assert_eq!(header["format"], "florin-golden");
        assert_eq!(header["version"], "1", "fixture {case} was written by another version of tests/golden/fixture.py");
        assert_eq!(header["case"], case);
        let config = serde_json::from_str(&header["config"]).expect("the config is JSON");
        Self { case: case.to_owned(), bytes, config }
    }

    /// A value of the case's configuration.
    pub(crate) fn config<T: DeserializeOwned>(&self, name: &str) -> T {
        serde_json::from_value(self.config[name].clone())
            .unwrap_or_else(|error| panic!("{}: {name}: {error}", self.case))
    }

    /// The whole configuration.
    pub(crate) fn whole_config<T: DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.config.clone()).unwrap_or_else(|error| panic!("{}: {error}", self.case))
    }

    /// An f32 input.
    pub(crate) fn input<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let (shape, values) = self.floats(name);
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// An input of whole numbers.
    pub(crate) fn input_ints<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D, Int> {
        let (shape, values) = self.ints(name);
        let values: Vec<i32> = values.into_iter().map(|value| value as i32).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// An input of yes and no.
    pub(crate) fn input_marks<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D, Bool> {
        let (shape, values) = self.ints(name);
        let values: Vec<bool> = values.into_iter().map(|value| value != 0).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// The names of all inputs.
    pub(crate) fn input_names(&self) -> Vec<String> {
        let file = self.tensors();
        file.names().into_iter().filter_map(|name| name.strip_prefix("input.")).map(str::to_owned).collect()
    }

    /// Whether an input holds whole numbers.
    pub(crate) fn is_whole(&self, name: &str) -> bool {
        self.tensors().tensor(&format!("input.{name}")).is_ok_and(|view| view.dtype() == Dtype::I64)
    }

    /// The names of everything expected that begins so, without that beginning.
    pub(crate) fn expected_names(&self, prefix: &str) -> Vec<String> {
        let prefix = format!("expected.{prefix}");
        let file = self.tensors();
        let names = file.names().into_iter().filter_map(|name| name.strip_prefix(&prefix));
        // Sums and norms of large tensors belong to these.
        let whole = names.filter(|name| !name.ends_with(".sum") && !name.ends_with(".norm"));
        whole.map(str::to_owned).collect()
    }

    /// Whether the case has that input.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors().tensor(&format!("input.{name}")).is_ok()
    }

    /// Shape and values of an f32 input.
    pub(crate) fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let file = self.tensors();
        let view = self.view(&file, &format!("input.{name}"), Dtype::F32);
        (view.shape().to_vec(), view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    /// Shape and values of an input of whole numbers.
    pub(crate) fn ints(&self, name: &str) -> (Vec<usize>, Vec<i64>) {
        let file = self.tensors();
        let view = self.view(&file, &format!("input.{name}"), Dtype::I64);
        (view.shape().to_vec(), longs(&view))
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("a fixture is a safetensors file")
    }

    fn view<'a>(&self, file: &'a SafeTensors<'a>, name: &str, kind: Dtype) -> TensorView<'a> {
        let view = file.tensor(name).unwrap_or_else(|_| panic!("fixture {} has no {name}", self.case));
        assert_eq!(view.dtype(), kind, "{name}");
        view
    }

    fn doubles(&self, name: &str) -> Vec<f64> {
        let file = self.tensors();
        let view = self.view(&file, name, Dtype::F64);
        view.data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
    }
}

fn longs(view: &TensorView<'_>) -> Vec<i64> {
    view.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
}

/// Results of one case beside what was expected; nothing fails before all of them are seen.
pub(crate) struct Comparison<'a> {
    fixture: &'a Fixture,
    rows: Vec<Row>,
    left: BTreeSet<String>,
}

struct Row {
    name: String,
    tolerance: Tolerance,
    error: f64,
    torch: f64,
    scale: f64,
}

impl<'a> Comparison<'a> {
    /// Nothing compared yet.
    pub(crate) fn new(fixture: &'a Fixture) -> Self {
        let file = fixture.tensors();
        let left = file.names().into_iter().filter_map(|name| name.strip_prefix("expected.")).map(str::to_owned);
        let left = left.collect();
        Self { fixture, rows: Vec::new(), left }
    }

    /// Compares a tensor.
    pub(crate) fn tensor<const D: usize>(&mut self, name: &str, found: Tensor<D>, tolerance: Tolerance) {
        let found = found.into_data().try_to_vec::<f32>().expect("results are f32");
        self.values(name, &found, tolerance);
    }

    /// Compares the gradients of all of a module's parameters, each of which must have one.
    pub(crate) fn gradients<M: Module>(&mut self, module: &M, gradients: &Gradients) {
        let in_place = module.clone().map(&mut InPlace { gradients, place: Place::default() });
        for (name, gradient) in collect(&in_place) {
            let full = format!("gradient.{name}");
            if gradients.get(&name).is_some() {
                self.values(&full, &gradient.values, GRADIENT);
            } else {
                // A parameter that the loss does not touch has no gradient in torch either.
                assert!(!self.left.contains(&full), "{}: {name} has no gradient", self.fixture.case);
            }
        }
    }

    /// Compares values, or where the fixture has only some of them those and their sum and norm.
    pub(crate) fn values(&mut self, name: &str, found: &[f32], tolerance: Tolerance) {
        let found: Vec<f64> = found.iter().copied().map(f64::from).collect();
        let chosen = self.fixture.tensors().tensor(&format!("entries.{name}")).ok().map(|view| longs(&view));
        let Some(chosen) = chosen else { return self.row(name, &found, tolerance, None) };
        let norm = found.iter().map(|value| value * value).sum::<f64>().sqrt();
        let entries: Vec<f64> = chosen.into_iter().map(|index| found[index as usize]).collect();
        self.row(name, &entries, tolerance, None);
        self.row(&format!("{name}.norm"), &[norm], tolerance, None);
        // Terms of a sum cancel, and may err together: its rounding errors are counted in the sum of their magnitudes.
        let magnitudes = found.iter().map(|value| value.abs()).sum();
        self.row(&format!("{name}.sum"), &[found.iter().sum()], tolerance, Some(magnitudes));
    }

    /// The same of values each of which must be the expected one to the last bit.
    pub(crate) fn equal(&mut self, name: &str, found: &[f32]) {
        self.values(name, found, OUTPUT);
        let differs = self.rows.iter().any(|row| row.name == name && row.error != 0.0);
        assert!(!differs, "{}: {name} is not the same to the last bit", self.fixture.case);
    }

    fn row(&mut self, name: &str, found: &[f64], tolerance: Tolerance, scale: Option<f64>) {
        let expected = self.fixture.doubles(&format!("expected.{name}"));
        assert_eq!(found.len(), expected.len(), "{}: {name} has another size", self.fixture.case);
        let gap = |(found, expected): (&f64, &f64)| (found - expected).abs();
        let error = found.iter().zip(&expected).map(gap).fold(0.0, worse);
        let largest = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        let torch = self.fixture.doubles(&format!("torch_error.{name}"))[0];
        self.left.remove(name);
        let scale = largest.max(scale.unwrap_or(0.0));
        self.rows.push(Row { name: name.to_owned(), tolerance, error, torch, scale });
    }

    /// Prints the worst results and fails if any is beyond its tolerance, or if something expected was not compared.
    pub(crate) fn finish(self) {
        let case = &self.fixture.case;
        assert!(self.left.is_empty(), "{case}: never compared: {:?}", self.left);
        let mut failures = Vec::new();
        let mut kinds: Vec<&str> = self.rows.iter().map(Row::kind).collect();
        kinds.dedup();
        for kind in kinds {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.kind() == kind).collect();
            let most = |of: fn(&Row) -> f64| rows.iter().map(|row| of(row)).fold(0.0, f64::max);
            let largest = most(|row| row.scale);
            let allowed = |row: &Row| row.tolerance.allowed(row.torch, row.scale, largest);
            let used = rows.iter().map(|row| row.error / allowed(row)).fold(0.0, f64::max);
            println!(
                "golden {case}: {kind}: {} values' largest error {:.1e}, torch's own {:.1e}, {:.0} % of the tolerance used",
                rows.len(),
                most(|row| row.error),
                most(|row| row.torch),
                100.0 * used
            );
            let beyond = rows.iter().filter(|row| row.error.is_nan() || row.error > allowed(row));
            failures.extend(beyond.map(|row| {
                let (name, error, torch, allowed) = (&row.name, row.error, row.torch, allowed(row));
                format!(
                    "{name}: error {error:.2e}, allowed {allowed:.2e}, torch's own {torch:.2e}, magnitude {:.2e}",
                    row.scale
                )
            }));
        }
        assert!(failures.is_empty(), "{case}: {} beyond tolerance:\n{}", failures.len(), failures.join("\n"));
    }
}

impl Row {
    /// What comes before the first dot: outputs, gradients, weights.
    fn kind(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }
}

/// The larger of two errors; NaN is the largest of all, so that it never passes as no difference.
pub(crate) fn worse(one: f64, other: f64) -> f64 {
    if one.is_nan() || one >= other { one } else { other }
}

/// Puts gradients in the place of the parameters, so that they are collected in a file's orientation.
struct InPlace<'a> {
    gradients: &'a Gradients,
    place: Place,
}

impl ModuleMapper for InPlace<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.leave();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.get(&self.place.name()) else { return param };
        let shape = param.val().dims();
        param.map(|_| Tensor::from_inner(gradient.clone().reshape(shape)))
    }
}
