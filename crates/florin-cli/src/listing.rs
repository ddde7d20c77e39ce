//! `florin tasks` and `florin devices`.

use serde_json::json;

use crate::output;

/// Lists the tasks.
pub(crate) fn tasks(as_json: bool) -> anyhow::Result<()> {
    let tasks = florin_finance::tasks();
    if as_json {
        return output::json(&tasks);
    }
    let rows = tasks.iter().map(|task| [task.name, task.summary, task.reads].map(str::to_owned).to_vec());
    output::text(&output::table(&["TASK", "WHAT IT DOES", "READS"], rows.collect()))
}

/// Lists the devices.
pub(crate) fn devices(as_json: bool) -> anyhow::Result<()> {
    let devices = florin_backend::available();
    if as_json {
        let list: Vec<_> = devices
            .iter()
            .map(|d| json!({"name": d.name, "description": d.description, "compiled": d.compiled}))
            .collect();
        return output::json(&list);
    }
    let state =
        |compiled: bool, name: &str| if compiled { "yes".to_owned() } else { format!("build with --features {name}") };
    let rows = devices.iter().map(|d| vec![d.name.to_owned(), d.description.to_owned(), state(d.compiled, d.name)]);
    output::text(&output::table(&["DEVICE", "WHAT IT IS", "IN THIS BUILD"], rows.collect()))
}
