/* SPDX-License-Identifier: MIT */
#include "kernel_window.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_SIZE = 256, RING_ALIGNMENT = 4096 };

struct free_table {
    struct free_table *next;
};

unsigned char *kernel_window;
int allocating_table;

static size_t next_ring, end_of_rings, first_table, end_of_tables;
/* The list runs through private memory: the tables themselves belong to the device while they are free or not. */
static struct free_table *free_tables, *all_tables;
static char complaint[200];

void window_use(unsigned char *window, size_t rings, size_t tables, size_t end)
{
    size_t count = (end - tables) / TABLE_SIZE;

    kernel_window = window;
    next_ring = rings;
    end_of_rings = first_table = tables;
    end_of_tables = tables + count * TABLE_SIZE;
    free(all_tables);
    all_tables = calloc(count, sizeof *all_tables);
    free_tables = NULL;
    while (count--) {
        all_tables[count].next = free_tables;
        free_tables = &all_tables[count];
    }
    complaint[0] = '\0';
}

unsigned long window_offset(const void *address)
{
    return (unsigned long)((const unsigned char *)address - kernel_window);
}

void *window_ring(size_t size)
{
    size_t start = (next_ring + RING_ALIGNMENT - 1) / RING_ALIGNMENT * RING_ALIGNMENT;

    if (start + size > end_of_rings)
        return NULL;
    next_ring = start + size;
    return memset(kernel_window + start, 0, size);
}

void *window_or_private(size_t size)
{
    struct free_table *table = free_tables;

    if (!allocating_table)
        return malloc(size);
    if (!table || size > TABLE_SIZE)
        return NULL;
    free_tables = table->next;
    return kernel_window + first_table + (size_t)(table - all_tables) * TABLE_SIZE;
}

void window_or_private_free(const void *address)
{
    size_t offset = window_offset(address);
    struct free_table *table;

    if (!address)
        return;
    if ((const unsigned char *)address < kernel_window || offset >= end_of_tables) {
        free((void *)address);
        return;
    }
    table = &all_tables[(offset - first_table) / TABLE_SIZE];
    table->next = free_tables;
    free_tables = table;
}

void complain(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(complaint, sizeof complaint, format, arguments);
    va_end(arguments);
}

const char *last_complaint(void)
{
    return complaint;
}
