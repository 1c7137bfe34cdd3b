; The native fork-join pool of threads.
;
; A task is void (ptr context, i64 task, i64 worker), where worker 0 is the thread that asked. One pool, with a
; cache line (two, where lines are fetched in pairs) for every word that several threads write:
;   0 ticket: epoch << 24 | next task     128 completed tasks     256 function, context, number of tasks
;   384 busy                              512 sleepers (i32), wake word (i32), stop (i32), rounds to spin (i64)
;
; A worker takes a task by compare-and-swap on the ticket, which also proves that the job it has read is still the
; job being done. The caller takes tasks as well and only waits for those somebody has taken, so a job ends even
; if no worker ever wakes (or none exists, as in a forked child).

; native.py adds pathc_relax, pathc_wait and pathc_wake for the architecture and the system.
declare i32 @sched_yield()

@default_pool = internal global ptr null

define internal i64 @take(ptr %pool, i64 %ticket, ptr %fn, ptr %context, i64 %tasks, i64 %worker) {
entry:
  %epoch = lshr i64 %ticket, 24
  %counter = getelementptr i8, ptr %pool, i64 128
  br label %look
look:
  %seen = phi i64 [ %ticket, %entry ], [ %now, %lost ], [ %next, %done ]
  %its = lshr i64 %seen, 24
  %same = icmp eq i64 %its, %epoch
  br i1 %same, label %current, label %leave
current:
  %task = and i64 %seen, 16777215
  %open = icmp ult i64 %task, %tasks
  br i1 %open, label %try, label %leave
try:
  %next = add i64 %seen, 1
  %pair = cmpxchg ptr %pool, i64 %seen, i64 %next seq_cst seq_cst, align 8
  %won = extractvalue { i64, i1 } %pair, 1
  %now = extractvalue { i64, i1 } %pair, 0
  br i1 %won, label %work, label %lost
lost:
  br label %look
work:
  call void %fn(ptr %context, i64 %task, i64 %worker)
  %before = atomicrmw add ptr %counter, i64 1 release, align 8
  br label %done
done:
  br label %look
leave:
  ret i64 %seen
}

define internal void @alone(ptr %fn, ptr %context, i64 %tasks) {
entry:
  %some = icmp ne i64 %tasks, 0
  br i1 %some, label %loop, label %end
loop:
  %task = phi i64 [ 0, %entry ], [ %next, %loop ]
  call void %fn(ptr %context, i64 %task, i64 0)
  %next = add i64 %task, 1
  %more = icmp ult i64 %next, %tasks
  br i1 %more, label %loop, label %end
end:
  ret void
}

define void @pathc_pool_run(ptr %pool, ptr %fn, ptr %context, i64 %tasks) {
entry:
  %none = icmp eq ptr %pool, null
  %few = icmp ult i64 %tasks, 2
  %many = icmp ugt i64 %tasks, 16777214
  %a = or i1 %none, %few
  %b = or i1 %a, %many
  br i1 %b, label %serial, label %lock
lock:
  %busy = getelementptr i8, ptr %pool, i64 384
  %got = cmpxchg ptr %busy, i64 0, i64 1 acquire monotonic, align 8
  %mine = extractvalue { i64, i1 } %got, 1
  br i1 %mine, label %publish, label %serial
publish:
  %counter = getelementptr i8, ptr %pool, i64 128
  store atomic i64 0, ptr %counter monotonic, align 8
  %job.fn = getelementptr i8, ptr %pool, i64 256
  %job.context = getelementptr i8, ptr %pool, i64 264
  %job.tasks = getelementptr i8, ptr %pool, i64 272
  store atomic ptr %fn, ptr %job.fn monotonic, align 8
  store atomic ptr %context, ptr %job.context monotonic, align 8
  store atomic i64 %tasks, ptr %job.tasks monotonic, align 8
  %old = load atomic i64, ptr %pool monotonic, align 8
  %epoch = lshr i64 %old, 24
  %epoch1 = add i64 %epoch, 1
  %ticket = shl i64 %epoch1, 24
  %was = atomicrmw xchg ptr %pool, i64 %ticket seq_cst, align 8
  %sleepers = getelementptr i8, ptr %pool, i64 512
  %asleep = load atomic i32, ptr %sleepers seq_cst, align 4
  %any = icmp ne i32 %asleep, 0
  br i1 %any, label %rouse, label %work
rouse:
  %word = getelementptr i8, ptr %pool, i64 516
  %w = atomicrmw add ptr %word, i32 1 seq_cst, align 4
  call void @pathc_wake(ptr %word)
  br label %work
work:
  %ignored = call i64 @take(ptr %pool, i64 %ticket, ptr %fn, ptr %context, i64 %tasks, i64 0)
  br label %check
check:
  %spins = phi i64 [ 0, %work ], [ %spins1, %spin ], [ %spins1, %yield ]
  %finished = load atomic i64, ptr %counter acquire, align 8
  %all = icmp eq i64 %finished, %tasks
  br i1 %all, label %unlock, label %wait
wait:
  %spins1 = add i64 %spins, 1
  %patient = icmp ult i64 %spins1, 4096
  br i1 %patient, label %spin, label %yield
spin:
  call void @pathc_relax()
  br label %check
yield:
  %y = call i32 @sched_yield()
  br label %check
unlock:
  store atomic i64 0, ptr %busy release, align 8
  ret void
serial:
  call void @alone(ptr %fn, ptr %context, i64 %tasks)
  ret void
}

define void @pathc_parallel(ptr %fn, ptr %context, i64 %tasks) {
  %pool = load atomic ptr, ptr @default_pool acquire, align 8
  call void @pathc_pool_run(ptr %pool, ptr %fn, ptr %context, i64 %tasks)
  ret void
}

; Sets the pool `pathc_parallel` runs on; null means the caller alone.
define void @pathc_use(ptr %pool) {
  store atomic ptr %pool, ptr @default_pool release, align 8
  ret void
}

; The life of a worker; the argument is { pool, number of the worker }.
define ptr @pathc_worker(ptr %argument) {
entry:
  %pool = load ptr, ptr %argument, align 8
  %number.at = getelementptr i8, ptr %argument, i64 8
  %worker = load i64, ptr %number.at, align 8
  %sleepers = getelementptr i8, ptr %pool, i64 512
  %word = getelementptr i8, ptr %pool, i64 516
  %stop = getelementptr i8, ptr %pool, i64 520
  %limit.at = getelementptr i8, ptr %pool, i64 528
  %job.fn = getelementptr i8, ptr %pool, i64 256
  %job.context = getelementptr i8, ptr %pool, i64 264
  %job.tasks = getelementptr i8, ptr %pool, i64 272
  br label %idle
idle:
  %last = phi i64 [ 0, %entry ], [ %epoch, %job ]
  br label %poll
poll:
  %spins = phi i64 [ 0, %idle ], [ %spins1, %again ], [ 0, %woken ]
  %stopping = load atomic i32, ptr %stop acquire, align 4
  %halt = icmp ne i32 %stopping, 0
  br i1 %halt, label %end, label %look
look:
  %ticket = load atomic i64, ptr %pool acquire, align 8
  %epoch = lshr i64 %ticket, 24
  %fresh = icmp ne i64 %epoch, %last
  br i1 %fresh, label %job, label %wait
job:
  %fn = load atomic ptr, ptr %job.fn monotonic, align 8
  %context = load atomic ptr, ptr %job.context monotonic, align 8
  %tasks = load atomic i64, ptr %job.tasks monotonic, align 8
  %ignored = call i64 @take(ptr %pool, i64 %ticket, ptr %fn, ptr %context, i64 %tasks, i64 %worker)
  br label %idle
wait:
  %spins1 = add i64 %spins, 1
  %limit = load i64, ptr %limit.at, align 8
  %patient = icmp ult i64 %spins1, %limit
  br i1 %patient, label %again, label %sleep
again:
  call void @pathc_relax()
  br label %poll
sleep:
  %w = load atomic i32, ptr %word seq_cst, align 4
  %s = atomicrmw add ptr %sleepers, i32 1 seq_cst, align 4
  %ticket2 = load atomic i64, ptr %pool seq_cst, align 8
  %unchanged = icmp eq i64 %ticket2, %ticket
  %stop2 = load atomic i32, ptr %stop seq_cst, align 4
  %going = icmp eq i32 %stop2, 0
  %rest = and i1 %unchanged, %going
  br i1 %rest, label %doze, label %woken
doze:
  call void @pathc_wait(ptr %word, i32 %w)
  br label %woken
woken:
  %r = atomicrmw sub ptr %sleepers, i32 1 seq_cst, align 4
  br label %poll
end:
  ret ptr null
}

; Makes idle workers look at `stop`.
define void @pathc_rouse(ptr %pool) {
  %word = getelementptr i8, ptr %pool, i64 516
  %w = atomicrmw add ptr %word, i32 1 seq_cst, align 4
  call void @pathc_wake(ptr %word)
  ret void
}
