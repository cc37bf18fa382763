"""A mail in a project's mailbox, as the sandbox's SNS would have put it there."""


def deliver(project, subject, text, to="ops@example.com", at="2026-11-20T09:48:00", notice=None, number=1):
    """Puts a mail there and answers its name."""
    folder = project.folder / ".trunkline" / "sandbox" / "mailbox"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{at.replace('-', '').replace(':', '')}.000Z-{number}-{to.replace('@', '-').replace('.', '-')}"
    about = f"X-Sns-Attribute-trunkline-notice-id: {notice}\n" if notice else ""
    (folder / f"{name}.eml").write_text(
        f"From: AWS Notifications <no-reply@sns.localhost>\nTo: {to}\nSubject: {subject}\n"
        f"Date: Fri, 20 Nov 2026 {at[11:]} +0000\nMessage-ID: <{number}@sns.localhost>\n"
        f"X-Sns-Topic-Arn: arn:aws:sns:us-east-1:000000000000:etl\n{about}\n{text}\n")
    return name
