//! What statements leave behind when they have ended.

use crate::{
    clients::Clients,
    operator::{ErrorClass, Failure, Handle, Status},
    redshift::poll::{self, Broken, Ended, Finished, Part},
};

/// The state of a statement, with its outputs if it has ended well.
pub(super) async fn poll(clients: &Clients, handle: &Handle) -> Status {
    match poll::look(clients, handle).await {
        Ok(Ended::Well(finished)) => well(clients, handle, &finished).await.unwrap_or_else(|status| status),
        Ok(Ended::Badly(broken)) => Status::Failed(failed(handle, &broken)),
        Err(status) => status,
    }
}

fn failed(handle: &Handle, broken: &Broken) -> Failure {
    let mut text = broken.text();
    if handle.detail["execution_mode"] == "AUTO_COMMIT" && broken.finished > 0 {
        text = format!(
            "{text}\n{} of {} statements are committed, so the task is not repeated by itself: clear it when \
             they may run again",
            broken.finished, broken.count
        );
        // The class that is never repeated.
        return Failure::new(ErrorClass::Config, text).with_code("FAILED");
    }
    Failure::new(ErrorClass::Failed, text).with_code("FAILED")
}

async fn well(clients: &Clients, handle: &Handle, finished: &Finished) -> Result<Status, Status> {
    let mut outcome = finished.outcome(handle);
    if finished.is_batch {
        let shapes = finished.parts.iter().map(Part::shape).collect();
        outcome.outputs.insert("statements".to_owned(), shapes);
    }
    poll::add_rows(clients, handle, &finished.parts, &mut outcome).await?;
    Ok(Status::Succeeded(outcome))
}
