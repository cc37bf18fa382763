//! The shipped pipelines as they lie in `pipelines/`, without the larger samples.

use super::Entry;

macro_rules! entries {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../", $path)))),*]
    };
}

/// Every shipped pipeline: its name and its files.
pub(crate) const SHIPPED: [(&str, &[Entry]); 8] = [
    (
        "connect_ctr",
        entries![
            "pipelines/connect_ctr/README.md",
            "pipelines/connect_ctr/aws.yaml",
            "pipelines/connect_ctr/pipeline.yaml",
            "pipelines/connect_ctr/sql/agent.sql",
            "pipelines/connect_ctr/sql/contacts.sql",
            "pipelines/connect_ctr/sql/ctrrecord.sql",
            "pipelines/connect_ctr/sql/customer.sql",
            "pipelines/connect_ctr/sql/queue.sql",
            "pipelines/connect_ctr/tests.yaml",
        ],
    ),
    (
        "daily_cdr_etl",
        entries![
            "pipelines/daily_cdr_etl/README.md",
            "pipelines/daily_cdr_etl/aws.yaml",
            "pipelines/daily_cdr_etl/jobs/cdr_etl.py",
            "pipelines/daily_cdr_etl/pipeline.yaml",
            "pipelines/daily_cdr_etl/sql/cdr_etl.sql",
            "pipelines/daily_cdr_etl/tests.yaml",
        ],
    ),
    (
        "event_load",
        entries![
            "pipelines/event_load/README.md",
            "pipelines/event_load/aws.yaml",
            "pipelines/event_load/pipeline.yaml",
            "pipelines/event_load/sql/events.sql",
            "pipelines/event_load/sql/judge_events.sql",
            "pipelines/event_load/sql/judge_utm.sql",
            "pipelines/event_load/sql/load_events.sql",
            "pipelines/event_load/sql/load_utm.sql",
            "pipelines/event_load/sql/reject_events.sql",
            "pipelines/event_load/sql/reject_utm.sql",
            "pipelines/event_load/sql/rejected_record.sql",
            "pipelines/event_load/sql/stage_event.sql",
            "pipelines/event_load/sql/stage_utm.sql",
            "pipelines/event_load/sql/utm.sql",
            "pipelines/event_load/tests.yaml",
        ],
    ),
    (
        "facility_crawl",
        entries![
            "pipelines/facility_crawl/README.md",
            "pipelines/facility_crawl/aws.yaml",
            "pipelines/facility_crawl/pipeline.yaml",
            "pipelines/facility_crawl/tests.yaml",
        ],
    ),
    (
        "facility_models",
        entries![
            "pipelines/facility_models/README.md",
            "pipelines/facility_models/aws.yaml",
            "pipelines/facility_models/pipeline.yaml",
            "pipelines/facility_models/sample/salesforce_leads/salesforce_leads.json",
            "pipelines/facility_models/sample/source_1/source_1.json",
            "pipelines/facility_models/sample/source_2/source_2.json",
            "pipelines/facility_models/sample/source_3/source_3.json",
            "pipelines/facility_models/sql/check_raw_salesforce_leads.sql",
            "pipelines/facility_models/sql/check_raw_source_1.sql",
            "pipelines/facility_models/sql/check_raw_source_2.sql",
            "pipelines/facility_models/sql/check_raw_source_3.sql",
            "pipelines/facility_models/sql/fact_leads.sql",
            "pipelines/facility_models/sql/int_credentials.sql",
            "pipelines/facility_models/sql/int_facility_details.sql",
            "pipelines/facility_models/sql/int_operations.sql",
            "pipelines/facility_models/sql/int_salesforce_leads.sql",
            "pipelines/facility_models/sql/quarantine_salesforce_leads.sql",
            "pipelines/facility_models/sql/quarantine_source_1.sql",
            "pipelines/facility_models/sql/quarantine_source_2.sql",
            "pipelines/facility_models/sql/quarantine_source_3.sql",
            "pipelines/facility_models/sql/summary.sql",
            "pipelines/facility_models/tests.yaml",
        ],
    ),
    (
        "full_crawl",
        entries![
            "pipelines/full_crawl/README.md",
            "pipelines/full_crawl/aws.yaml",
            "pipelines/full_crawl/pipeline.yaml",
            "pipelines/full_crawl/sql/cdr_full.sql",
            "pipelines/full_crawl/tests.yaml",
        ],
    ),
    (
        "monthly_report",
        entries![
            "pipelines/monthly_report/README.md",
            "pipelines/monthly_report/aws.yaml",
            "pipelines/monthly_report/pipeline.yaml",
            "pipelines/monthly_report/sql/report.sql",
            "pipelines/monthly_report/sql/totals.sql",
            "pipelines/monthly_report/tests.yaml",
        ],
    ),
    (
        "warehouse_refresh",
        entries![
            "pipelines/warehouse_refresh/README.md",
            "pipelines/warehouse_refresh/aws.yaml",
            "pipelines/warehouse_refresh/pipeline.yaml",
            "pipelines/warehouse_refresh/sample/orders-0.sql",
            "pipelines/warehouse_refresh/sql/dim_counterparty.sql",
            "pipelines/warehouse_refresh/sql/dim_currency.sql",
            "pipelines/warehouse_refresh/sql/dim_date.sql",
            "pipelines/warehouse_refresh/sql/dim_design.sql",
            "pipelines/warehouse_refresh/sql/dim_location.sql",
            "pipelines/warehouse_refresh/sql/dim_staff.sql",
            "pipelines/warehouse_refresh/sql/fact_sales_order.sql",
            "pipelines/warehouse_refresh/sql/tables.sql",
            "pipelines/warehouse_refresh/sql/warnings.sql",
            "pipelines/warehouse_refresh/tests.yaml",
        ],
    ),
];

/// The files of one of them.
pub(crate) fn files_of(name: &str) -> &'static [Entry] {
    SHIPPED.iter().find(|(known, _)| *known == name).map_or(&[], |(_, files)| files)
}
