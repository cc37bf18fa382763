-- Who paused a pipeline, or resumed it last, when and why. What was paused before has no such words.
alter table pipeline
  add column switched_at   timestamptz,
  add column switched_by   text,
  add column switch_reason text;
