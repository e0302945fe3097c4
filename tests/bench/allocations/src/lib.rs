//! Counts calls of `malloc` and its kin in the process that loads it by `LD_PRELOAD`, and in those it forks.
//!
//! The count is eight bytes, native order, in the file `$BENCH_ALLOCATIONS.PID`, mapped: whoever reads the file sees
//! it grow. Needs glibc, whose own functions do the work. Never here: an allocator, or what a count means.

use std::ffi::{c_int, c_long, c_void};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// In the mapped file; null until the process has begun, or for good when nobody asked.
static COUNT: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

fn count() {
    let count = COUNT.load(Ordering::Relaxed);
    if !count.is_null() {
        // SAFETY: not null means that `begin` has mapped eight bytes there, which stay for as long as the process.
        unsafe { &*count }.fetch_add(1, Ordering::Relaxed);
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

extern "C" fn begin() {
    let Ok(prefix) = std::env::var("BENCH_ALLOCATIONS") else { return };
    let path = format!("{prefix}.{}", std::process::id());
    // Without the file there is no count, and whoever reads it sees that. It may be there already: a process that
    // becomes another program counts on.
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let Ok(file) = file else { return };
    if file.set_len(8).is_err() {
        return;
    }
    // SAFETY: a new mapping, at a place of the kernel's choice, of a file that was just made eight bytes long.
    let place = unsafe { mmap(ptr::null_mut(), 8, READ_AND_WRITE, SHARED, file.as_raw_fd(), 0) };
    if place.addr() != usize::MAX {
        COUNT.store(place.cast(), Ordering::Relaxed);
    }
}

/// # Safety
/// As malloc(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    count();
    unsafe { __libc_malloc(size) }
}

/// # Safety
/// As calloc(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn calloc(number: usize, size: usize) -> *mut c_void {
    count();
    unsafe { __libc_calloc(number, size) }
}

/// # Safety
/// As realloc(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(old: *mut c_void, size: usize) -> *mut c_void {
    count();
    unsafe { __libc_realloc(old, size) }
}

/// # Safety
/// As aligned_alloc(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    count();
    unsafe { __libc_memalign(align, size) }
}

/// # Safety
/// As posix_memalign(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: usize, size: usize) -> c_int {
    count();
    let made = unsafe { __libc_memalign(align, size) };
    if made.is_null() {
        return ENOMEM;
    }
    unsafe { *place = made };
    0
}

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(number: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(old: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void;
    fn mmap(
        at: *mut c_void,
        length: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        from: c_long,
    ) -> *mut c_void;
}

const READ_AND_WRITE: c_int = 3;
const SHARED: c_int = 1;
const ENOMEM: c_int = 12;
