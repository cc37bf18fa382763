//! What a crawler task needs: the crawler.

use super::crawler_of;
use crate::{
    access::{Finding, Needs, Place, Statement},
    aws::error::Trouble,
    clients::{Clients, Purpose},
    operator::Request,
};

pub(super) fn needs(request: &Request, place: &Place) -> Needs {
    let crawler = place.arn("glue", &format!("crawler/{}", crawler_of(request)));
    let actions = ["BatchGetCrawlers", "GetCrawler", "ListCrawls", "StartCrawler", "StopCrawler"];
    Needs::of(vec![Statement::new("glue", &actions, [crawler])])
}

pub(super) async fn check(clients: &Clients, request: &Request) -> Vec<Finding> {
    let what = format!("crawler {}", crawler_of(request));
    let glue = match clients.glue(&request.connection, Purpose::Read).await {
        Ok(glue) => glue,
        Err(failure) => return vec![Finding::unreachable(&what, &failure)],
    };
    let answer = glue.get_crawler().name(crawler_of(request)).send().await.map_err(Trouble::from);
    vec![Finding::of(&what, "glue:GetCrawler", &answer)]
}
