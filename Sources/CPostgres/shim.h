#pragma once
#include <postgresql/libpq-fe.h>
#include <postgresql/postgres_ext.h>
