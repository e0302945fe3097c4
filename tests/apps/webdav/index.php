<?php
header('Content-Type: text/plain');
echo "hello from webdav\n";
