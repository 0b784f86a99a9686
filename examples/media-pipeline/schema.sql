-- The database as the app has it before its migrations.
create table schema_migrations (filename text primary key, applied_at timestamptz not null default now());
create table identities (id bigint generated always as identity primary key, name text not null);
create table monitor_jobs (id bigint primary key, status text not null);
create table files (
    file_uuid text primary key,
    file_name text not null,
    status text not null,
    job_id bigint
);

-- As many as there are files in identities/.
insert into identities (name) select 'identity ' || n from generate_series(1, 3481) n;

-- Three files that are in processing, and nobody processes them.
insert into files values
    ('abc123...', 'video.mp4', 'processing', null),
    ('def456...', 'video2.mp4', 'processing', null),
    ('ghi789...', 'video3.mp4', 'processing', null),
    ('jkl012...', 'done.mp4', 'completed', 7);
insert into monitor_jobs values (7, 'completed');
