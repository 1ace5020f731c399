-- name: remaining
select partition, next_offset, end_offset from gsc.replays where replay = %(replay)s

-- name: forget
delete from gsc.replays where replay = %(replay)s

-- name: begin
insert into gsc.replays (replay, partition, next_offset, end_offset)
select %(replay)s, * from unnest(%(partitions)s::integer[], %(starts)s::bigint[], %(ends)s::bigint[])

-- name: progress
update gsc.replays r set next_offset = greatest(r.next_offset, p.next_offset), written_at = now()
from unnest(%(partitions)s::integer[], %(offsets)s::bigint[]) as p (partition, next_offset)
where r.replay = %(replay)s and r.partition = p.partition
