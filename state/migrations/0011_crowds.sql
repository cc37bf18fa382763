-- What was told lately: failures of one pipeline that come in crowds go together.
create index outbox_sent on outbox (sent_at) where state = 'sent';
