<?php

function hello(): string
{
    return "hello from php-public\n";
}
