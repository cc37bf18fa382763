//! What an event needs: its bus.

use super::entry;
use crate::{
    access::{Finding, Needs, Place, Statement},
    aws::error::Trouble,
    clients::Clients,
    operator::Request,
};

fn bus(request: &Request) -> &str {
    entry(request)["EventBusName"].as_str().unwrap_or("default")
}

pub(super) fn needs(request: &Request, place: &Place) -> Needs {
    let bus = bus(request);
    let arn = if bus.starts_with("arn:") {
        bus.to_owned()
    } else {
        place.arn("events", &format!("event-bus/{bus}"))
    };
    Needs::of(vec![Statement::new("events", &["PutEvents"], [arn])])
}

pub(super) async fn check(clients: &Clients, request: &Request, place: &Place) -> Vec<Finding> {
    let bus = bus(request);
    if let Some(finding) = place.region_of_arn(bus) {
        return vec![finding];
    }
    let what = format!("event bus {bus}");
    let events = match clients.events(&request.connection).await {
        Ok(events) => events,
        Err(failure) => return vec![Finding::unreachable(&what, &failure)],
    };
    let answer = events.describe_event_bus().name(bus).send().await.map_err(Trouble::from);
    vec![Finding::of(&what, "events:DescribeEventBus", &answer)]
}
