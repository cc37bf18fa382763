"""The star schema of the shop, computed in plain Python from the source's rows; shares nothing with the pipeline."""

import datetime
import decimal
import json
import subprocess

TABLES = ["address", "counterparty", "currency", "department", "design", "sales_order", "staff"]
CURRENCIES = {"GBP": "Pound Sterling", "USD": "United States dollar", "EUR": "Euros", "JPY": "Yen"}
ADDRESS = ["address_line_1", "address_line_2", "district", "city", "postal_code", "country", "phone"]


def rows(url, sql):
    """The rows of a query as dictionaries; numbers with a point are exact."""
    done = subprocess.run(["psql", "-At", url, "-c", f"select row_to_json(r) from ({sql}) r"], capture_output=True,
                          text=True, timeout=120, check=True)
    return [json.loads(line, parse_float=decimal.Decimal) for line in done.stdout.splitlines()]


def date_of(text):
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return None


def as_text(fact):
    return json.dumps(fact, default=str, sort_keys=True)


class Star:
    """What the warehouse must hold after each look at the source."""

    def __init__(self):
        self.facts, self.waiting = {}, {}
        self.dims = {name: {} for name in ("location", "staff", "design", "currency", "counterparty")}

    def look(self, url):
        """Takes in the source as it is now."""
        source = {name: rows(url, f"select * from {name}") for name in TABLES}
        addresses = {row["address_id"]: row for row in source["address"]}
        departments = {row["department_id"]: row for row in source["department"]}
        for key, row in addresses.items():
            self.dims["location"][key] = (key, *(row[name] for name in ADDRESS))
        for row in source["staff"]:
            if department := departments.get(row["department_id"]):
                self.dims["staff"][row["staff_id"]] = (row["staff_id"], row["first_name"], row["last_name"],
                                                       department["department_name"], department["location"],
                                                       row["email_address"])
        for row in source["design"]:
            self.dims["design"][row["design_id"]] = tuple(row[name] for name in
                                                          ("design_id", "design_name", "file_location", "file_name"))
        for row in source["currency"]:
            self.dims["currency"][row["currency_id"]] = (row["currency_id"], row["currency_code"],
                                                         CURRENCIES[row["currency_code"]])
        for row in source["counterparty"]:
            self.dims["counterparty"][row["counterparty_id"]] = (
                row["counterparty_id"], row["counterparty_legal_name"],
                *(addresses[row["legal_address_id"]][name] for name in ADDRESS))
        for row in source["sales_order"]:
            self.waiting.setdefault((row["sales_order_id"], row["last_updated"]), row)
        for key, row in sorted(self.waiting.items()):
            if key not in self.facts and not self.reasons(row):
                self.facts[key] = self.fact(row)

    def reasons(self, row):
        found = []
        for name in ("agreed_delivery_date", "agreed_payment_date"):
            if date_of(row[name]) is None:
                found.append(f"{name} is no date: {row[name]}")
        if row["staff_id"] not in self.dims["staff"]:
            found.append(f"staff_id is not in dim_staff: {row['staff_id']}")
        return "; ".join(found)

    def rejected(self):
        return sorted((order, self.reasons(row)) for (order, at), row in self.waiting.items()
                      if (order, at) not in self.facts)

    @staticmethod
    def fact(row):
        created, updated = (datetime.datetime.fromisoformat(row[name]) for name in ("created_at", "last_updated"))
        return {
            "sales_order_id": row["sales_order_id"],
            "created_date": created.date().isoformat(), "created_time": created.strftime("%H:%M:%S"),
            "last_updated_date": updated.date().isoformat(), "last_updated_time": updated.strftime("%H:%M:%S"),
            "sales_staff_id": row["staff_id"], "counterparty_id": row["counterparty_id"],
            "units_sold": row["units_sold"], "unit_price": decimal.Decimal(row["unit_price"]),
            "currency_id": row["currency_id"], "design_id": row["design_id"],
            "agreed_payment_date": row["agreed_payment_date"], "agreed_delivery_date": row["agreed_delivery_date"],
            "agreed_delivery_location_id": row["agreed_delivery_location_id"],
        }

    def dates(self):
        names = ("created_date", "last_updated_date", "agreed_payment_date", "agreed_delivery_date")
        found = {fact[name] for fact in self.facts.values() for name in names}
        days = sorted(datetime.date.fromisoformat(text) for text in found)
        return [(day.isoformat(), day.year, day.month, day.day, day.isoweekday(), day.strftime("%A"),
                 day.strftime("%B"), (day.month + 2) // 3) for day in days]

    def check(self, url):
        """Every table of the warehouse, row by row."""
        for name, wanted in self.dims.items():
            key = f"{name}_id"
            got = [tuple(row.values()) for row in rows(url, f"select * from dim_{name} order by {key}")]
            assert got == [wanted[key] for key in sorted(wanted)], name
        assert [tuple(row.values()) for row in rows(url, "select * from dim_date order by date_id")] == self.dates()
        facts = rows(url, "select * from fact_sales_order")
        for fact in facts:
            del fact["sales_record_id"], fact["source_last_updated"]
            fact["unit_price"] = decimal.Decimal(fact["unit_price"])
        assert sorted(facts, key=as_text) == sorted(self.facts.values(), key=as_text)
        got = rows(url, "select sales_order_id, reason from rejected_order")
        assert sorted((row["sales_order_id"], row["reason"]) for row in got) == self.rejected()
        return len(facts)
