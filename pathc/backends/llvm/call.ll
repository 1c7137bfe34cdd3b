; The entry points Python calls, and how a batch is divided among threads.
;
; A kernel is void (ptr x, ptr y, ptr params, ptr scratch, i64 batch, i64 x_stride, i64 y_stride).
;
; Everything one call needs; Python fills it in (call.py names the same fields).
;   0 kernel, 1 x, 2 y, 3 params, 4 scratch, 5 batch, 6 x_stride, 7 y_stride, 8 result, 9 busy, 10 pool, 11 chunk,
;   12 tasks, 13 scratch stride in bytes, 14 bytes from sample to sample of x, 15 of y, 16 whether to release the
;   GIL, 17 inputs, 18 outputs, 19 tile, 20 samples from which the pool is used, 21 threads, 22 samples from which the
;   GIL is released, 23 which arrays have units first: 1 x, 2 y
%call = type { ptr, ptr, ptr, ptr, ptr, i64, i64, i64, ptr, i64, ptr, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64 }

declare ptr @PyTuple_GetItem(ptr, i64)
declare ptr @PyCapsule_GetPointer(ptr, ptr)
declare void @Py_IncRef(ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare void @PyErr_SetString(ptr, ptr)
declare void @PyErr_Clear()
declare i32 @PyObject_GetBuffer(ptr, ptr, i32)
declare void @PyBuffer_Release(ptr)

@PyExc_RuntimeError = external global ptr
@_Py_NoneStruct = external global i8
@two_threads = private constant [81 x i8] c"a bound kernel is called from two threads at once; bind it once for every thread\00"

define internal void @piece(ptr %c, i64 %task, i64 %worker) {
  %kernel = load ptr, ptr %c, align 8
  %x.at = getelementptr %call, ptr %c, i64 0, i32 1
  %y.at = getelementptr %call, ptr %c, i64 0, i32 2
  %params.at = getelementptr %call, ptr %c, i64 0, i32 3
  %scratch.at = getelementptr %call, ptr %c, i64 0, i32 4
  %batch.at = getelementptr %call, ptr %c, i64 0, i32 5
  %xs.at = getelementptr %call, ptr %c, i64 0, i32 6
  %ys.at = getelementptr %call, ptr %c, i64 0, i32 7
  %chunk.at = getelementptr %call, ptr %c, i64 0, i32 11
  %step.at = getelementptr %call, ptr %c, i64 0, i32 13
  %xstep.at = getelementptr %call, ptr %c, i64 0, i32 14
  %ystep.at = getelementptr %call, ptr %c, i64 0, i32 15
  %x = load ptr, ptr %x.at, align 8
  %y = load ptr, ptr %y.at, align 8
  %params = load ptr, ptr %params.at, align 8
  %scratch = load ptr, ptr %scratch.at, align 8
  %batch = load i64, ptr %batch.at, align 8
  %xs = load i64, ptr %xs.at, align 8
  %ys = load i64, ptr %ys.at, align 8
  %chunk = load i64, ptr %chunk.at, align 8
  %step = load i64, ptr %step.at, align 8
  %xstep = load i64, ptr %xstep.at, align 8
  %ystep = load i64, ptr %ystep.at, align 8
  %first = mul i64 %task, %chunk
  %left = sub i64 %batch, %first
  %short = icmp ult i64 %left, %chunk
  %rows = select i1 %short, i64 %left, i64 %chunk
  %xo = mul i64 %first, %xstep
  %yo = mul i64 %first, %ystep
  %so = mul i64 %worker, %step
  %x1 = getelementptr i8, ptr %x, i64 %xo
  %y1 = getelementptr i8, ptr %y, i64 %yo
  %s1 = getelementptr i8, ptr %scratch, i64 %so
  call void %kernel(ptr %x1, ptr %y1, ptr %params, ptr %s1, i64 %rows, i64 %xs, i64 %ys)
  ret void
}

define void @pathc_run(ptr %c) {
  %pool.at = getelementptr %call, ptr %c, i64 0, i32 10
  %tasks.at = getelementptr %call, ptr %c, i64 0, i32 12
  %pool = load ptr, ptr %pool.at, align 8
  %tasks = load i64, ptr %tasks.at, align 8
  call void @pathc_pool_run(ptr %pool, ptr @piece, ptr %c, i64 %tasks)
  ret void
}

define internal ptr @context(ptr %self) {
  %capsule = call ptr @PyTuple_GetItem(ptr %self, i64 0)
  %c = call ptr @PyCapsule_GetPointer(ptr %capsule, ptr null)
  ret ptr %c
}

; The bound form, METH_NOARGS: run on the arrays it was bound to and return the output.
define ptr @pathc_bound(ptr %self, ptr %unused) {
entry:
  %c = call ptr @context(ptr %self)
  %result.at = getelementptr %call, ptr %c, i64 0, i32 8
  %result = load ptr, ptr %result.at, align 8
  %release.at = getelementptr %call, ptr %c, i64 0, i32 16
  %release = load i64, ptr %release.at, align 8
  %hold = icmp eq i64 %release, 0
  br i1 %hold, label %held, label %free
held:
  call void @pathc_run(ptr %c)
  br label %finish
free:
  %busy = getelementptr %call, ptr %c, i64 0, i32 9
  %got = cmpxchg ptr %busy, i64 0, i64 1 acquire monotonic, align 8
  %mine = extractvalue { i64, i1 } %got, 1
  br i1 %mine, label %go, label %clash
go:
  %state = call ptr @PyEval_SaveThread()
  call void @pathc_run(ptr %c)
  call void @PyEval_RestoreThread(ptr %state)
  store atomic i64 0, ptr %busy release, align 8
  br label %finish
finish:
  call void @Py_IncRef(ptr %result)
  ret ptr %result
clash:
  %kind = load ptr, ptr @PyExc_RuntimeError, align 8
  call void @PyErr_SetString(ptr %kind, ptr @two_threads)
  ret ptr null
}

; The open form, METH_FASTCALL (x, y): runs when both are plain arrays [batch, units] of float32, aligned, with
; contiguous rows, or columns where the call says so, y writable and apart from x; returns y, or None to say that the
; caller must look closer.
define ptr @pathc_call(ptr %self, ptr %arguments, i64 %count) {
entry:
  %view.x = alloca [10 x i64], align 16
  %view.y = alloca [10 x i64], align 16
  %local = alloca %call, align 16
  %two = icmp eq i64 %count, 2
  br i1 %two, label %contextual, label %refuse
contextual:
  %c = call ptr @context(ptr %self)
  %ox = load ptr, ptr %arguments, align 8
  %oy.at = getelementptr ptr, ptr %arguments, i64 1
  %oy = load ptr, ptr %oy.at, align 8
  %inputs.at = getelementptr %call, ptr %c, i64 0, i32 17
  %outputs.at = getelementptr %call, ptr %c, i64 0, i32 18
  %inputs = load i64, ptr %inputs.at, align 8
  %outputs = load i64, ptr %outputs.at, align 8
  %gx = call i32 @PyObject_GetBuffer(ptr %ox, ptr %view.x, i32 28)
  %fx = icmp eq i32 %gx, 0
  br i1 %fx, label %have.x, label %clear
have.x:
  %gy = call i32 @PyObject_GetBuffer(ptr %oy, ptr %view.y, i32 29)
  %fy = icmp eq i32 %gy, 0
  br i1 %fy, label %have.y, label %clear.x
have.y:
  %orders.at = getelementptr %call, ptr %c, i64 0, i32 23
  %orders = load i64, ptr %orders.at, align 8
  %order.x = and i64 %orders, 1
  %order.y = and i64 %orders, 2
  %first.x = icmp ne i64 %order.x, 0
  %first.y = icmp ne i64 %order.y, 0
  %px = call i64 @lines(ptr %view.x, i64 %inputs, i1 %first.x)
  %py = call i64 @lines(ptr %view.y, i64 %outputs, i1 %first.y)
  %bad.x = icmp slt i64 %px, 0
  %bad.y = icmp slt i64 %py, 0
  %bad = or i1 %bad.x, %bad.y
  br i1 %bad, label %unfit, label %fit
fit:
  %shape.x.at = getelementptr i8, ptr %view.x, i64 48
  %shape.y.at = getelementptr i8, ptr %view.y, i64 48
  %shape.x = load ptr, ptr %shape.x.at, align 8
  %shape.y = load ptr, ptr %shape.y.at, align 8
  %batch = load i64, ptr %shape.x, align 8
  %batch.y = load i64, ptr %shape.y, align 8
  %equal = icmp eq i64 %batch, %batch.y
  %x = load ptr, ptr %view.x, align 8
  %y = load ptr, ptr %view.y, align 8
  %x.first = ptrtoint ptr %x to i64
  %y.first = ptrtoint ptr %y to i64
  %x.bytes = mul i64 %px, 4
  %y.bytes = mul i64 %py, 4
  %count.x = select i1 %first.x, i64 %inputs, i64 %batch
  %count.y = select i1 %first.y, i64 %outputs, i64 %batch
  %bx = mul i64 %x.bytes, %count.x
  %by = mul i64 %y.bytes, %count.y
  %x.end = add i64 %x.first, %bx
  %y.end = add i64 %y.first, %by
  %before = icmp ule i64 %x.end, %y.first
  %behind = icmp ule i64 %y.end, %x.first
  %apart = or i1 %before, %behind
  %ok = and i1 %equal, %apart
  br i1 %ok, label %lock, label %unfit
lock:
  %busy = getelementptr %call, ptr %c, i64 0, i32 9
  %got = cmpxchg ptr %busy, i64 0, i64 1 acquire monotonic, align 8
  %mine = extractvalue { i64, i1 } %got, 1
  br i1 %mine, label %go, label %unfit
go:
  call void @llvm.memcpy.p0.p0.i64(ptr %local, ptr %c, i64 192, i1 false)
  %x.at = getelementptr %call, ptr %local, i64 0, i32 1
  %y.at = getelementptr %call, ptr %local, i64 0, i32 2
  %batch.at = getelementptr %call, ptr %local, i64 0, i32 5
  %xs.at = getelementptr %call, ptr %local, i64 0, i32 6
  %ys.at = getelementptr %call, ptr %local, i64 0, i32 7
  store ptr %x, ptr %x.at, align 8
  store ptr %y, ptr %y.at, align 8
  store i64 %batch, ptr %batch.at, align 8
  store i64 %px, ptr %xs.at, align 8
  store i64 %py, ptr %ys.at, align 8
  %xstep.at = getelementptr %call, ptr %local, i64 0, i32 14
  %ystep.at = getelementptr %call, ptr %local, i64 0, i32 15
  %xstep = select i1 %first.x, i64 4, i64 %x.bytes
  %ystep = select i1 %first.y, i64 4, i64 %y.bytes
  store i64 %xstep, ptr %xstep.at, align 8
  store i64 %ystep, ptr %ystep.at, align 8
  call void @pathc_divide(ptr %local)
  %free.at = getelementptr %call, ptr %c, i64 0, i32 22
  %free.from = load i64, ptr %free.at, align 8
  %hold = icmp ult i64 %batch, %free.from
  br i1 %hold, label %held, label %free
held:
  call void @pathc_run(ptr %local)
  br label %finish
free:
  %state = call ptr @PyEval_SaveThread()
  call void @pathc_run(ptr %local)
  call void @PyEval_RestoreThread(ptr %state)
  br label %finish
finish:
  store atomic i64 0, ptr %busy release, align 8
  call void @PyBuffer_Release(ptr %view.y)
  call void @PyBuffer_Release(ptr %view.x)
  call void @Py_IncRef(ptr %oy)
  ret ptr %oy
unfit:
  call void @PyBuffer_Release(ptr %view.y)
  call void @PyBuffer_Release(ptr %view.x)
  br label %refuse
clear.x:
  call void @PyBuffer_Release(ptr %view.x)
  br label %clear
clear:
  call void @PyErr_Clear()
  br label %refuse
refuse:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
}

; Floats from row to row of a buffer that is a plain float32 array [batch, units], or -1; with units first, floats
; from column to column.
define internal i64 @lines(ptr %view, i64 %units, i1 %columns) {
entry:
  %dims.at = getelementptr i8, ptr %view, i64 36
  %dims = load i32, ptr %dims.at, align 4
  %two = icmp eq i32 %dims, 2
  %format.at = getelementptr i8, ptr %view, i64 40
  %format = load ptr, ptr %format.at, align 8
  %named = icmp ne ptr %format, null
  %a = and i1 %two, %named
  br i1 %a, label %typed, label %no
typed:
  %letters = load i16, ptr %format, align 1
  %f = icmp eq i16 %letters, 102
  %shape.at = getelementptr i8, ptr %view, i64 48
  %shape = load ptr, ptr %shape.at, align 8
  %height = load i64, ptr %shape, align 8
  %width.at = getelementptr i64, ptr %shape, i64 1
  %width = load i64, ptr %width.at, align 8
  %wide = icmp eq i64 %width, %units
  %strides.at = getelementptr i8, ptr %view, i64 56
  %strides = load ptr, ptr %strides.at, align 8
  %down = load i64, ptr %strides, align 8
  %across.at = getelementptr i64, ptr %strides, i64 1
  %across = load i64, ptr %across.at, align 8
  %next = select i1 %columns, i64 %down, i64 %across
  %line = select i1 %columns, i64 %across, i64 %down
  %length = select i1 %columns, i64 %height, i64 %width
  %dense = icmp eq i64 %next, 4
  %least = mul i64 %length, 4
  %apart = icmp sge i64 %line, %least
  %start = load i64, ptr %view, align 8
  %mixed = or i64 %start, %line
  %low = and i64 %mixed, 3
  %aligned = icmp eq i64 %low, 0
  %b = and i1 %f, %wide
  %d = and i1 %dense, %apart
  %e = and i1 %b, %d
  %g = and i1 %e, %aligned
  %floats = sdiv i64 %line, 4
  %answer = select i1 %g, i64 %floats, i64 -1
  ret i64 %answer
no:
  ret i64 -1
}

; How many tasks a batch makes: whole tiles, about four tasks a thread.
define void @pathc_divide(ptr %c) {
entry:
  %batch.at = getelementptr %call, ptr %c, i64 0, i32 5
  %pool.at = getelementptr %call, ptr %c, i64 0, i32 10
  %chunk.at = getelementptr %call, ptr %c, i64 0, i32 11
  %tasks.at = getelementptr %call, ptr %c, i64 0, i32 12
  %tile.at = getelementptr %call, ptr %c, i64 0, i32 19
  %from.at = getelementptr %call, ptr %c, i64 0, i32 20
  %threads.at = getelementptr %call, ptr %c, i64 0, i32 21
  %batch = load i64, ptr %batch.at, align 8
  %pool = load ptr, ptr %pool.at, align 8
  %tile = load i64, ptr %tile.at, align 8
  %from = load i64, ptr %from.at, align 8
  %threads = load i64, ptr %threads.at, align 8
  %no.pool = icmp eq ptr %pool, null
  %few = icmp ult i64 %batch, %from
  %none = or i1 %no.pool, %few
  br i1 %none, label %whole, label %parts
whole:
  store i64 %batch, ptr %chunk.at, align 8
  store i64 1, ptr %tasks.at, align 8
  ret void
parts:
  %t0 = add i64 %batch, %tile
  %t1 = sub i64 %t0, 1
  %tiles = udiv i64 %t1, %tile
  %pieces = shl i64 %threads, 2
  %p0 = udiv i64 %tiles, %pieces
  %small = icmp eq i64 %p0, 0
  %per = select i1 %small, i64 1, i64 %p0
  %chunk = mul i64 %per, %tile
  %c0 = add i64 %batch, %chunk
  %c1 = sub i64 %c0, 1
  %tasks = udiv i64 %c1, %chunk
  store i64 %chunk, ptr %chunk.at, align 8
  store i64 %tasks, ptr %tasks.at, align 8
  ret void
}

declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
