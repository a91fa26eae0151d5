// liburing, under names that leave the kernel's own header alone.
//
// liburing carries a copy of <linux/io_uring.h>, and so, through <linux/io_uring.h> itself, do other
// packages' C modules. Two modules that define the same struct with other members cannot be imported
// together, so the tags get a prefix here. They are no part of any symbol: liburing links as ever.
#pragma once
#define io_cqring_offsets cb_io_cqring_offsets
#define io_sqring_offsets cb_io_sqring_offsets
#define io_uring_buf cb_io_uring_buf
#define io_uring_buf_reg cb_io_uring_buf_reg
#define io_uring_buf_ring cb_io_uring_buf_ring
#define io_uring_cqe cb_io_uring_cqe
#define io_uring_file_index_range cb_io_uring_file_index_range
#define io_uring_files_update cb_io_uring_files_update
#define io_uring_getevents_arg cb_io_uring_getevents_arg
#define io_uring_notification_register cb_io_uring_notification_register
#define io_uring_notification_slot cb_io_uring_notification_slot
#define io_uring_op cb_io_uring_op
#define io_uring_params cb_io_uring_params
#define io_uring_probe cb_io_uring_probe
#define io_uring_probe_op cb_io_uring_probe_op
#define io_uring_recvmsg_out cb_io_uring_recvmsg_out
#define io_uring_restriction cb_io_uring_restriction
#define io_uring_rsrc_register cb_io_uring_rsrc_register
#define io_uring_rsrc_update cb_io_uring_rsrc_update
#define io_uring_sqe cb_io_uring_sqe
#define io_uring_sync_cancel_reg cb_io_uring_sync_cancel_reg
#include <liburing.h>
