"""The rules by which slid rows are put back guess nothing: of a row whose every cell is known, any cells are emptied
and the rest slides left; what the rules then take is what the row said, or they take nothing. That the pipeline has
the same rules as facility_expected.py, test_facility.py shows."""

import itertools
import json

import pytest

from facility_expected import Checked, text_of

# No system writes a row without these, so a row that could have lost only them is read without that thought.
DEMANDED = {"salesforce_leads": {"last_name", "company"}, "source_1": set(), "source_2": set(), "source_3": set()}
# Columns that no table is made of; and of ages, the first that are left are the first.
UNUSED = {
    "last_viewed_date", "email_bounced_reason", "email_bounced_date", "outreach_stage_c", "current_enrollment_c",
    "capacity_c", "lead_source_last_updated_c", "brightwheel_school_uuid_c", "Daytime Hours", "Star Level",
    "Primary Caregiver", "Subsidy Contract Number", "Total Cap", "Ages Accepted 1", "AA2", "AA3", "AA4",
    "License Monitoring Since", "School Year Only", "Evening Hours", "Agency Number", "Monitoring Frequency",
}
LEAD = {
    "id": 4001, "is_deleted": False, "last_name": "Abernall", "first_name": "Ada", "title": "Director",
    "company": "Blue Kite Child Care", "street": "7046 Harbor Ave", "city": "North Alder", "state": "IN",
    "postal_code": "46007", "country": "US", "phone": 4055550164, "mobile_phone": "555-0164",
    "email": "ada.4662@example.com", "website": "https://kite.example.com", "lead_source": "TAM", "status": "Working",
    "is_converted": "FALSE", "created_date": "10/20/26 5:01", "last_modified_date": "11/17/26 5:01",
    "last_activity_date": "11/18/26", "last_viewed_date": None, "last_referenced_date": "11/19/26",
    "email_bounced_reason": None, "email_bounced_date": None, "outreach_stage_c": "Stage 2",
    "current_enrollment_c": "60", "capacity_c": "120", "lead_source_last_updated_c": None,
    "brightwheel_school_uuid_c": None,
}
LICENCE = {
    "Name": "LITTLE OAKS", "Credential Type": "CENTER", "Credential Number": "1106-22", "Status": "Active",
    "Expiration Date": "5/17/27", "Disciplinary Action": "N", "Address": "12 Fern Ct Otterford NV 89001", "State": "NV",
    "County": "Alder", "Phone": "555-555-0100", "First Issue Date": "5/17/14", "Primary Contact Name": "Ada Abernall",
    "Primary Contact Role": "Director",
}
DETAIL = {
    "Type License": "CHILD CARE FAMILY - K820028929", "Company": "JORROW, JONAS DBA BLUE KITE",
    "Accepts Subsidy": "Accepts Subsidy", "Year Round": "Year Round", "Daytime Hours": "Daytime Hours",
    "Star Level": "Two Star", **dict.fromkeys(["Mon", "Tues", "Wed", "Thurs", "Friday"], "6:00AM - 6:00PM"),
    "Saturday": "CLOSED", "Sunday": "CLOSED", "Primary Caregiver": "Clara Jorrow\n\nDirector", "Phone": "(670) 555-0178",
    "Email": "fitz.980@example.com", "Address1": "2561 N Quarry St", "Address2": "Apt 4", "City": "Sable Creek",
    "State": "OK", "Zip": "73198", "Subsidy Contract Number": "Subsidy Contract Number: None", "Total Cap": 61,
    "Ages Accepted 1": "Infants (0-11 months)", "AA2": "Toddlers (12-23 months; 1yr.)",
    "AA3": "Preschool (24-48 months; 2-4 yrs.)", "AA4": "School-age (5 years-older)",
    "License Monitoring Since": "Monitoring since 2008-08-17", "School Year Only": None, "Evening Hours": None,
}
OPERATION = {
    "Operation": 800000, "Agency Number": None, "Operation Name": "Maple Nest", "Address": "12 Old Mill Ln",
    "City": "Otterford", "State": "TX", "Zip": 75692, "County": "Dover", "Phone": "781-555-0115",
    "Type": "Licensed Child-Care Home", "Status": "Full Permit", "Issue Date": "5/17/14", "Capacity": 12,
    "Email Address": "ada@example.com", "Facility ID": "1400000", "Monitoring Frequency": None, "Infant": "Y",
    "Toddler": "N", "Preschool": "Y", "School": "N",
}
# Empty cells that did not slide make other rows look like them.
ROWS = [
    ("salesforce_leads", LEAD),
    ("salesforce_leads", LEAD | {"title": None, "first_name": None}),
    ("salesforce_leads", LEAD | {"website": None, "state": "46342"}),
    ("salesforce_leads", LEAD | {"website": None, "lead_source": None, "mobile_phone": None}),
    ("source_1", LICENCE),
    ("source_2", DETAIL),
    ("source_2", DETAIL | {"Address2": None, "AA3": None, "AA4": None}),
    ("source_2", DETAIL | {"Accepts Subsidy": None, "Address2": None}),
    ("source_3", OPERATION),
    ("source_3", OPERATION | {"Capacity": None, "Email Address": None}),
]


@pytest.mark.parametrize(("source", "row"), ROWS, ids=[f"{source}_{at}" for at, (source, _) in enumerate(ROWS)])
def test_no_reading_is_a_guess(source, row):
    taken = 0
    for count in range(4):
        for empty in itertools.combinations([name for name in row if row[name] is not None], count):
            if DEMANDED[source] & set(empty):
                continue
            left = [cell for name, cell in row.items() if name not in empty] + [None] * count
            checked = Checked(source, json.dumps(dict(zip(row, left))).encode())
            for found in checked.rows:
                taken += 1
                said = {name: None if name in empty else text_of(cell) for name, cell in row.items()}
                wrong = {name for name in said if found[name.lower()] != said[name]} - UNUSED
                assert not wrong, f"without {empty} the row is read as {found}"
    assert taken, "and some are put back"
