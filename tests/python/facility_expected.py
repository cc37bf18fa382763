"""What the facility pipelines must yield, computed from the four raw files in plain Python.

Written from the README of facility_models, and shares no code with its SQL: a row is put back by giving the empty cells
their places again, and taken where everything then is of the kind that its column says.
"""

import datetime
import json
import re

SOURCES = ("salesforce_leads", "source_1", "source_2", "source_3")
WINDOWS = (7, 14, 21, 365)
EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}")
URL = re.compile(r"(https?://)?([A-Za-z0-9-]+\.)+[A-Za-z]{2,6}(/.*)?")
POSTAL = re.compile(r"\d{5}(-\d{4})?|[A-Z]\d[A-Z] ?\d[A-Z]\d", re.I)
MOBILE = re.compile(r"\+?[1-9]\d{1,14}|(\(\d{3}\) ?|\d{3}[-. ]?)?\d{3}[-. ]?\d{4}")
HOURS = re.compile(r"CLOSED|\d{1,2}:\d{2}[AP]M - \d{1,2}:\d{2}[AP]M")
STATUSES = ("WORKING", "ASSIGNED", "UNQUALIFIED", "CONNECTED", "RECYCLED")
TITLES = re.compile(
    "DIRECTOR|OWNER|MANAGER|ADMINISTRATOR|PRINCIPAL|TEACHER|PRESIDENT|COORDINATOR|SUPERVISOR|FOUNDER|CHIEF|CEO"
)
AGES = {"Toddlers": (12, 23), "Preschool": (24, 48), "School-Age": (60, None), "Infants": (0, 11)}
DAYS = {"Mon": "mon", "Tues": "tues", "Wed": "wed", "Thurs": "thurs", "Fri": "friday", "Sat": "saturday", "Sun": "sunday"}

# By file, the layouts: their name, and the columns whose empty cell slid away.
LAYOUTS = {
    "salesforce_leads": {
        "straight": (),
        "no website": ("website",),
        "no country": ("country", "website"),
        "no title": ("title", "website"),
    },
    "source_1": {"straight": ()},
    "source_2": {
        "straight": (),
        "no address2": ("address2",),
        "no subsidy, no address2": ("accepts subsidy", "address2"),
        "no year round, no address2": ("year round", "address2"),
        "no subsidy": ("accepts subsidy",),
        "no year round": ("year round",),
    },
    "source_3": {"straight": (), "two left": ("status", "issue date")},
}


def text_of(value):
    """A cell as a text, as the catalog's readers give it."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def fits(pattern, text):
    return text is not None and re.fullmatch(pattern, text) is not None


def empty_or(pattern, text):
    return text is None or fits(pattern, text)


def day_of(text, latest=None):
    """The day that is written as 9/4/21, maybe with a time; none if the calendar has no such day. Years are those of
    this century, or with `latest` the ones up to 19 years after it."""
    found = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{2})( \d{1,2}:\d{2})?", text or "")
    if not found:
        return None
    month, day, year = (int(part) for part in found.groups()[:3])
    try:
        made = datetime.date(2000 + year, month, day)
        if latest and made > latest.replace(year=latest.year + 19):
            made = made.replace(year=1900 + year)
    except ValueError:
        return None
    return made


def put_back(names, cells, empty):
    """The row as it was before the cells slid over the empty ones; none if more slid than fits."""
    rest = list(cells)
    row = {name: None if name in empty else rest.pop(0) for name in names}
    return None if any(cell is not None for cell in rest) else row


def is_date(text):
    return text is None or day_of(text) is not None


def lead_layout(layout, row):
    if not fits(r"(?i)true|false", row["is_converted"]) or not re.match(r"\d+/", row["created_date"] or ""):
        return False
    if layout == "straight":
        return empty_or(URL, row["website"])
    if row["lead_source"] is None and (row["status"] or "").upper() not in STATUSES:
        return False
    if layout == "no website":
        return not fits(URL, row["lead_source"])
    phoned = fits(r"\d{7,15}", row["phone"]) and "@" in (row["email"] or "") and fits(POSTAL, row["postal_code"])
    if layout == "no country":
        return phoned
    placed = fits(r"\d+ .*", row["street"]) and fits(r"\D+", row["city"]) and fits(r"[A-Za-z][A-Za-z .]*", row["country"])
    return phoned and placed and row["company"] is not None and not TITLES.search((row["first_name"] or "").upper())


def lead_misfits(row):
    yield "id", fits(r"\d{1,18}", row["id"])
    yield "is_deleted", fits("(?i)true|false", row["is_deleted"])
    yield "last_name", bool(row["last_name"])
    yield "country", not re.search("[0-9@]", row["country"] or "")
    yield "phone", empty_or(r"\d{7,15}", row["phone"])
    yield "mobile_phone", "@" not in (row["mobile_phone"] or "")
    yield "email", row["email"] is None or "@" in row["email"]
    yield "lead_source", empty_or(r"[A-Za-z][A-Za-z &/-]*", row["lead_source"])
    yield "status", empty_or(r"[A-Za-z][A-Za-z -]*", row["status"])
    yield "created_date", day_of(row["created_date"]) is not None
    yield "last_modified_date", day_of(row["last_modified_date"]) is not None and " " in row["last_modified_date"]
    yield "last_activity_date", is_date(row["last_activity_date"]) and " " not in (row["last_activity_date"] or "")
    yield "last_viewed_date", row["last_viewed_date"] is None
    yield "last_referenced_date", is_date(row["last_referenced_date"])


def licence_misfits(row):
    yield "name", bool(row["name"])
    yield "credential type", bool(row["credential type"])
    yield "credential number", fits(r"\d{3,6}-\d{2}", row["credential number"])
    yield "status", fits(r"[A-Za-z][A-Za-z -]*", row["status"])
    yield "expiration date", is_date(row["expiration date"])
    yield "disciplinary action", row["disciplinary action"] in ("Y", "N", None)
    yield "state", fits(r"[A-Z]{2}", row["state"])
    yield "phone", empty_or(r"\d{3}-\d{3}-\d{4}", row["phone"])
    yield "first issue date", is_date(row["first issue date"])
    yield "primary contact role", row["primary contact name"] is None or row["primary contact role"] is not None


def detail_layout(layout, row):
    """Seven days with hours, state and postal code in their places; what says `Accepts Subsidy` and `Year Round` too."""
    beside = (row["star level"], row["primary caregiver"])
    if not all(fits(HOURS, row[day]) for day in DAYS.values()) or any(fits(HOURS, cell) for cell in beside):
        return False
    if not (fits(r"[A-Z]{2}", row["state"]) and fits(r"\d{5}(-\d{4})?", row["zip"])):
        return False
    if layout.startswith("no subsidy"):
        return (row["year round"] or "").upper() == "YEAR ROUND"
    if layout.startswith("no year round"):
        subsidy, next_cell = row["accepts subsidy"], row["daytime hours"]
        return (subsidy or "").upper() == "ACCEPTS SUBSIDY" and (next_cell or "").upper() != "YEAR ROUND"
    return True


def detail_misfits(row):
    yield "type license", fits(r"[A-Z].* - [A-Z]?\d+", row["type license"])
    yield "company", (row["company"] or "YEAR ROUND").upper() not in ("ACCEPTS SUBSIDY", "YEAR ROUND")
    yield "accepts subsidy", empty_or(r"(?i)accepts subsidy", row["accepts subsidy"])
    yield "year round", empty_or(r"(?i)year round", row["year round"])
    yield "phone", empty_or(r"\(\d{3}\) \d{3}-\d{4}", row["phone"])
    yield "email", row["email"] is None or "@" in row["email"]
    yield "address1", re.match(r"\d|P\.?O\.? ?BOX|R[RT] |HC ", (row["address1"] or "").upper()) is not None
    yield "city", fits(r"\D+", row["city"])
    yield "subsidy contract number", empty_or(r"Subsidy Contract Number: .*", row["subsidy contract number"])
    yield "total cap", empty_or(r"\d{1,9}", row["total cap"])
    yield "ages accepted 1", empty_or(r"[A-Za-z-]+ \(.*\)", row["ages accepted 1"])


def operation_layout(layout, row):
    if layout == "straight":
        return row["infant"] is not None and row["school"] in ("Y", "N")
    # Whichever two of these were empty, all four are now.
    empty = ("status", "issue date", "capacity", "email address", "monitoring frequency")
    return all(row[name] is None for name in empty) and row["infant"] in ("Y", "N") and row["school"] in ("Y", "N")


def operation_misfits(row):
    yield "operation", fits(r"\d{1,18}", row["operation"])
    yield "operation name", bool(row["operation name"])
    yield "state", fits(r"[A-Z]{2}", row["state"])
    yield "zip", empty_or(r"\d{5}", row["zip"])
    yield "phone", empty_or(r"\d{3}-\d{3}-\d{4}", row["phone"])
    yield "type", (row["type"] or "").startswith("Licensed ")
    yield "status", empty_or(r"[A-Za-z][A-Za-z -]*", row["status"])
    yield "issue date", is_date(row["issue date"])
    yield "capacity", empty_or(r"\d{1,9}", row["capacity"])
    yield "facility id", empty_or(r"\d+", row["facility id"])
    for name in ("infant", "toddler", "preschool", "school"):
        yield name, row[name] in ("Y", "N")


RULES = {
    "salesforce_leads": (lead_layout, lead_misfits),
    "source_1": (lambda *_: True, licence_misfits),
    "source_2": (detail_layout, detail_misfits),
    "source_3": (operation_layout, operation_misfits),
}


class Checked:
    """The rows of one file: those that are right, in their columns, and those in quarantine."""

    def __init__(self, source, content):
        self.rows, self.quarantine, self.repaired = [], [], 0
        layout_fits, misfits = RULES[source]
        for line in content.decode().splitlines():
            record = json.loads(line)
            names, cells = [name.lower() for name in record], [text_of(value) for value in record.values()]
            found = [
                (layout, row)
                for layout, empty in LAYOUTS[source].items()
                for row in [put_back(names, cells, empty)]
                if row and layout_fits(layout, row)
            ]
            assert len(found) <= 1, f"{line} fits {[layout for layout, _ in found]}"
            if not found:
                self.quarantine.append(("no known layout", "unknown", cells))
                continue
            layout, row = found[0]
            wrong = [name for name, right in misfits(row) if not right]
            if wrong:
                self.quarantine.append((f"does not fit: {', '.join(wrong)}", layout, cells))
            else:
                self.rows.append(row)
                self.repaired += layout != "straight"

    @property
    def counts(self):
        """As the mail says: in the file, valid, repaired, quarantined."""
        whole = len(self.rows) + len(self.quarantine)
        return whole, len(self.rows) - self.repaired, self.repaired, len(self.quarantine)


def kept_if(pattern, text):
    return text if fits(pattern, text) else None


def lead(row, day):
    status = row["status"]
    modified = day_of(row["last_modified_date"])
    same = ("first_name", "last_name", "title", "company", "street", "city", "state", "postal_code")
    return {name: row[name] for name in same} | {
        "id": int(row["id"]),
        "phone": int(row["phone"]) if row["phone"] else None,
        "mobile_phone": kept_if(MOBILE, row["mobile_phone"]),
        "email": kept_if(EMAIL, row["email"]),
        "status": status if status and status.upper() in STATUSES else None,
        "lead_source": row["lead_source"],
        "website": row["website"],
        "ingestion_date_utc": day,
        "converted_date": modified if row["is_converted"].upper() == "TRUE" else None,
        "last_modified_date": modified,
        "last_activity_date": day_of(row["last_activity_date"]),
        "last_referenced_date": day_of(row["last_referenced_date"]),
        "created_date": day_of(row["created_date"]),
    }


def rounded(total, count):
    """Half away from zero, as SQL rounds."""
    return (2 * total + count) // (2 * count) if total >= 0 else -((-2 * total + count) // (2 * count))


def facts(leads, day):
    for created in sorted({row["created_date"] for row in leads}):
        group = [row for row in leads if row["created_date"] == created]
        converted = [row["converted_date"] for row in group if row["converted_date"]]
        waits = [(when - created).days for when in converted]
        fact = {
            "created_date": created,
            "new_leads_created": len(group),
            "leads_converted": len(converted),
            "number_of_open_leads": sum((row["status"] or "").upper() == "WORKING" for row in group),
            "avg_days_to_convert": rounded(sum(waits), len(waits)) if waits else None,
            "ingestion_date_utc": day,
        }
        for days in WINDOWS:
            window = {day - datetime.timedelta(back) for back in range(days)}
            fact[f"new_leads_last_{days}_days"] = len(group) if created in window else 0
            fact[f"leads_converted_last_{days}_days"] = sum(when in window for when in converted)
        yield fact


def licence(row, day):
    same = ("disciplinary_action", "address", "state", "county", "phone", "primary_contact_name", "primary_contact_role")
    return {name: row[name.replace("_", " ")] for name in same} | {
        "licensee_name": row["name"],
        "license_number": row["credential number"],
        "license_status": row["status"],
        "license_issued_date": day_of(row["first issue date"], day),
        "license_expiration_date": day_of(row["expiration date"], day),
        "license_type": row["credential type"],
        "ingestion_date_utc": day,
    }


def detail(row, day):
    band = (row["ages accepted 1"] or "").split("(")[0].upper()
    age = next((name for name in AGES if name.upper() in band), None)
    same = ("company", "address1", "address2", "city", "state", "zip", "phone", "email")
    hours = {short: "Open" if re.search(r"\d", row[name]) else "Closed" for short, name in DAYS.items()}
    return {name: row[name] for name in same} | {
        "license_type": row["type license"],
        "accepts_financial_aid": "N" if row["accepts subsidy"] is None else "Y",
        "year_round": row["year round"],
        "age_type": age,
        "schedule": ", ".join(f"{short}: {word}" for short, word in hours.items()),
        "min_age_months": AGES[age][0] if age else None,
        "max_age_months": AGES[age][1] if age else None,
        "ingestion_date_utc": day,
    }


def operation(row, day):
    ages = {"infant": "Infants", "toddler": "Toddlers", "preschool": "Preschool", "school": "School-Age"}
    same = ("facility_id", "status", "address", "city", "state", "zip", "county", "phone")
    return {name: row[name.replace("_", " ")] for name in same} | {
        "operator": row["operation name"],
        "operation_id": int(row["operation"]),
        "facility_type": row["type"],
        "email_address": kept_if(EMAIL, row["email address"]),
        "issued_date": day_of(row["issue date"], day),
        "capacity": int(row["capacity"]) if row["capacity"] else None,
        "age_type": next((word for name, word in ages.items() if row[name] == "Y"), None),
        "ingestion_date_utc": day,
    }


def tables_of(checked, date):
    """The five tables of a run for this date, each a list of rows in no order."""
    day = datetime.date.fromisoformat(date)
    leads = [lead(row, day) for row in checked["salesforce_leads"].rows if row["is_deleted"].lower() == "false"]
    return {
        "int_salesforce_leads": leads,
        "fact_leads": list(facts(leads, day)),
        "int_credentials": [licence(row, day) for row in checked["source_1"].rows],
        "int_facility_details": [detail(row, day) for row in checked["source_2"].rows],
        "int_operations": [operation(row, day) for row in checked["source_3"].rows],
    }
